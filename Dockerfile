# The service alone: no torch, no training, no tests. Build: docker build -t attend .  Run: docker run -p 8000:8000 attend

FROM python:3.11-slim AS packages
COPY requirements.lock /tmp/requirements.lock
RUN python -m venv --without-pip /opt/attend \
    && pip --python /opt/attend/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes --requirement /tmp/requirements.lock

FROM python:3.11-slim
COPY --from=packages /opt/attend /opt/attend
WORKDIR /app
COPY model/*.py model/
COPY service service
COPY bundles bundles
# Compiled now: the running container may not be able to write.
RUN /opt/attend/bin/python -m compileall -q model service

ENV PATH=/opt/attend/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    ATTEND_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["python", "-c", "\
import os, urllib.request; \
urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('ATTEND_PORT', '8000') + '/health/ready', timeout=4)"]
CMD ["python", "-m", "service"]
