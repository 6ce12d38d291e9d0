# shellcheck shell=bash
# shellcheck disable=SC2034 # read by the rooms that source this one
# Which versions the cluster is made of: KSYNC_CLUSTER_VERSIONS is `usual` (what many people run, mostly Debian's own)
# or `new` (the newest there are; containerd and runc built from their modules). Invariant: a cluster is of one set from
# `up` to `down`.

VERSIONS=${KSYNC_CLUSTER_VERSIONS:-usual}

VERSION_CRI_DOCKERD=v0.4.0
VERSION_CRIO=v1.34.0
# KUBE_MODULE: the module files in kube/, without .mod and .sum.
case $VERSIONS in
usual)
  VERSION_KUBE=v1.34.4 KUBE_MODULE=go
  ;;
new)
  VERSION_KUBE=v1.37.2 KUBE_MODULE=new
  VERSION_CONTAINERD=v2.4.2
  VERSION_RUNC=v1.5.2
  ;;
*) fail "KSYNC_CLUSTER_VERSIONS is usual or new, not \`$VERSIONS\`" ;;
esac
