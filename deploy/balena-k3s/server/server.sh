#!/bin/sh
# A step that fails ends this with its message; Balena starts it again.
set -eu
hardtack box prepare --yes
exec k3s server
