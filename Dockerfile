# A pod (or, with another command, a relay or a policy service) without root.
#   docker build -t podsql .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp \
#     -v "$PWD/pod:/pod" podsql pod serve --config /pod/pod.toml
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /opt/podsql \
 && /opt/podsql/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /pod podsql
COPY --from=build /opt/podsql /opt/podsql
ENV PATH=/opt/podsql/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /pod
STOPSIGNAL SIGTERM
ENTRYPOINT ["podsql"]
CMD ["pod", "serve", "--config", "/pod/pod.toml"]
