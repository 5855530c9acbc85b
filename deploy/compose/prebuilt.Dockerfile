# The lockcluster image from a binary that is already built, without a registry:
#
#   CGO_ENABLED=0 go build -tags hashicorpmetrics -o FOLDER/lockcluster ./cmd/lockcluster
#   mkdir FOLDER/data
#   docker build -f deploy/compose/Dockerfile --target node-base -t lockcluster:node-base .
#   docker build -f deploy/compose/prebuilt.Dockerfile -t lockcluster:local FOLDER
#
# It is a file of its own, because Docker's older builder works through every
# stage of a file, needed or not.

ARG NODE_BASE=lockcluster:node-base
FROM ${NODE_BASE}
COPY lockcluster /usr/local/bin/lockcluster
COPY --chown=65532:65532 data/ /var/lib/lockcluster/
VOLUME /var/lib/lockcluster
