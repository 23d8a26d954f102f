"""The JSON API: routes, schemas, errors, metrics and its documentation."""
