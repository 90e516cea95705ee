# The service alone: no torch, no training, no tests. Needs BuildKit, the default since Docker 23.
#   docker build -t attend:0.1.0 .                      for CPUs;  docker run -p 8000:8000 attend:0.1.0
#   docker build -t attend:0.1.0-gpu --build-arg RUNTIME=gpu .
#       for NVIDIA GPUs;  docker run --gpus all -p 8000:8000 attend:0.1.0-gpu
# `make image` and `make image-gpu` do so and say which revision it is.

ARG RUNTIME=cpu

FROM python:3.11-slim AS base
WORKDIR /app
ENV PATH=/opt/attend/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    ATTEND_HOST=0.0.0.0
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "\
import os, ssl, urllib.request; \
context = ssl._create_unverified_context() if os.environ.get('ATTEND_TLS_CERTIFICATE') else None; \
start = 'https://127.0.0.1:' if context else 'http://127.0.0.1:'; \
urllib.request.urlopen(start + os.environ.get('ATTEND_PORT', '8000') + '/health/ready', timeout=4, context=context)"]
CMD ["python", "-m", "service"]

FROM python:3.11-slim AS installer
RUN python -m venv --without-pip /opt/attend
# A tenth of what the packages bring is tests of their own; OpenCC brings its commands and what C++ would link with,
# ONNX Runtime and NumPy bring tools for making models and extensions.
ENV INSTALL="pip --python /opt/attend/bin/python install --no-cache-dir --disable-pip-version-check --require-hashes" \
    REMOVE_UNUSED="find /opt/attend -type d ( -name tests -o -path */opencc/clib/bin -o -path */opencc/clib/include \
        -o -path */opencc/clib/lib* -o -path */onnxruntime/transformers -o -path */onnxruntime/quantization \
        -o -path */onnxruntime/tools -o -path */numpy/f2py -o -path */numpy/distutils ) -prune -exec rm -r {} +"

FROM installer AS packages-cpu
COPY requirements.lock /tmp/requirements.lock
RUN $INSTALL --requirement /tmp/requirements.lock && $REMOVE_UNUSED

FROM installer AS packages-gpu
COPY requirements-gpu.lock /tmp/requirements.lock
RUN $INSTALL --requirement /tmp/requirements.lock && $REMOVE_UNUSED

FROM installer AS code
WORKDIR /app
COPY model/*.py model/
COPY service service
COPY tools tools
# Compiled now: the running container may not be able to write.
RUN python -m compileall -q .

FROM base AS cpu
COPY --from=packages-cpu /opt/attend /opt/attend

FROM base AS gpu
# What NVIDIA's container runtime brings in from the host: the driver's libraries for CUDA and nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=packages-gpu /opt/attend /opt/attend

FROM ${RUNTIME}
COPY bundles /app/bundles
COPY --from=code /app /app
USER 10001:10001
# Labels by the names of the Open Container Initiative; last, for no layer to depend on them.
ARG RUNTIME
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="attend" \
    org.opencontainers.image.description="Translation by REST ($RUNTIME)" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"
