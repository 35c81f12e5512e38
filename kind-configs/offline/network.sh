#!/usr/bin/env bash
# A pod network for a kind cluster without a CNI of its own, and without an image: on each node the plugin ptp with
# addresses of the node's ranges, and routes to the other nodes' ranges. It rewrites nothing: only the proxy does.
# usage: docker.sh run -- network.sh [CLUSTER]           (default: kind)
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "$(realpath "$0")")/lib.sh"
cluster=${1:-kind}
use_engine || fail 'no Docker engine answers'
kubeconfig=$(mktemp)
trap 'rm -f "$kubeconfig"' EXIT
kind get kubeconfig --name "$cluster" >"$kubeconfig" || fail "no cluster $cluster"
kubectl() { command kubectl --kubeconfig "$kubeconfig" "$@"; }

# A line a node: its name, its ranges, and its addresses in the same order.
addresses='{range .status.addresses[?(@.type=="InternalIP")]} {.address}{end}'
line="{.metadata.name}{range .spec.podCIDRs[*]} {@}{end}$addresses{\"\\n\"}"
nodes=$(kubectl get nodes -o jsonpath="{range .items[*]}$line{end}")
while read -r node node_fields; do
  read -ra of_node <<<"$node_fields"
  ranges=() routes=()
  for range in "${of_node[@]:0:${#of_node[@]}/2}"; do
    ranges+=("[{\"subnet\":\"$range\"}]")
    if [[ $range == *:* ]]; then routes+=('{"dst":"::/0"}'); else routes+=('{"dst":"0.0.0.0/0"}'); fi
  done
  commands=
  while read -r other other_fields; do
    [ "$node" != "$other" ] || continue
    read -ra of_other <<<"$other_fields"
    families=$((${#of_other[@]} / 2))
    for ((i = 0; i < families; i++)); do
      commands+="ip route replace ${of_other[i]} via ${of_other[i + families]}; "
    done
  done <<<"$nodes"
  docker exec -i "$node" sh -ec "$commands cat >/etc/cni/net.d/10-onehop.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "onehop", "plugins": [
 {"type": "ptp", "mtu": 1500, "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam",
  "ranges": [$(IFS=, && echo "${ranges[*]}")], "routes": [$(IFS=, && echo "${routes[*]}")]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
done <<<"$nodes"
kubectl wait --for=condition=Ready nodes --all --timeout=60s
