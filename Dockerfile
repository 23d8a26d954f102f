# The service as a container: docker build -t orbitune . && docker run -p 7860:7860 -v ./models:/models:ro orbitune
FROM python:3.12-slim-bookworm AS build
# The compiler of the kernels stays here.
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential=12.9 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml CMakeLists.txt LICENSE README.md ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv /venv
# PyTorch without CUDA, which is gigabytes smaller.
RUN /venv/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 \
    && /venv/bin/pip install --no-cache-dir "orbitune[app,export,geo] @ file://$(ls /wheels/orbitune-*.whl)"

FROM python:3.12-slim-bookworm
COPY --from=build /venv /venv
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin orbitune
USER 10001
# Uploads, decoded tiles and Gradio's files; all may be lost.
ENV PATH=/venv/bin:$PATH ORBITUNE_CACHE=/tmp/orbitune HF_HOME=/tmp/huggingface PYTHONDONTWRITEBYTECODE=1
EXPOSE 7860
# 401: a password is needed, so it is alive.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 7860, timeout=5); c.request('GET', '/api/health'); raise SystemExit(c.getresponse().status not in (200, 401))"]
ENTRYPOINT ["orbitune", "serve", "--host", "0.0.0.0", "--log-json"]
CMD ["/models/model-int8.onnx", "--engine", "onnx"]
