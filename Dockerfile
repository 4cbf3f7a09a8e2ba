# limner's page and HTTP interface in a container. Build: docker build -t limner .
# Run:   docker run -p 8000:8000 -v limner:/data limner
# Any address but this machine's demands API keys, so make one first:
#        docker run --rm -v limner:/data limner limner keys make me --scope admin
FROM python:3.11-slim AS build

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY requirements ./requirements
COPY src ./src
# Exactly what was tested, by digest; `scripts/lock` writes the list anew.
RUN python -m venv /opt/limner \
    && /opt/limner/bin/pip install --no-cache-dir --require-hashes -r requirements/studio.txt \
    && /opt/limner/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim

ENV PATH=/opt/limner/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LIMNER_HOME=/data \
    LIMNER_GALLERY=/data/gallery.limner \
    LIMNER_SERVICE=/data/service \
    GRADIO_ANALYTICS_ENABLED=False

COPY --from=build /opt/limner /opt/limner
RUN useradd --uid 10001 --create-home --home-dir /home/limner --shell /usr/sbin/nologin limner \
    && install -d -o limner -g limner -m 0700 /data

USER 10001:10001
WORKDIR /home/limner

# The gallery, the service's keys and jobs, and the fetched weights.
VOLUME ["/data"]
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

STOPSIGNAL SIGTERM
CMD ["limner", "serve", "--host", "0.0.0.0", "--port", "8000"]
