"""Report pages: components, figures and templates that studies and single runs share.

A page is data (`orbitune.reporting.page.Page`) that one template turns into a self-contained HTML file, and
another into Markdown. Each figure is a small SVG that the page arranges. Equal results give equal bytes.
"""
