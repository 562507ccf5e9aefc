# One image for every process of the Procfile: the command says which. compose.yaml and deploy/helm run it.
#
#   docker build --tag switchboard .

FROM python:3.11-slim-bookworm AS build
WORKDIR /opt/switchboard
RUN python -m venv .venv
# By itself, so that a change of the code does not install anew what it depends on.
COPY requirements.lock ./
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.lock
COPY . .
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && .venv/bin/python -m compileall -q broker celery_config.py cli core web workers

FROM python:3.11-slim-bookworm
# A number, so that Kubernetes sees that it is not root.
RUN useradd --system --uid 10001 --home-dir /var/lib/switchboard --create-home switchboard
COPY --from=build /opt/switchboard /opt/switchboard
ENV PATH=/opt/switchboard/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    SWITCHBOARD_HOST=0.0.0.0 \
    SWITCHBOARD_STATE_DIR=/var/lib/switchboard
WORKDIR /opt/switchboard
USER 10001
EXPOSE 8000 5555
CMD ["gunicorn", "--config", "web/gunicorn.py", "web.app:create_app()"]
