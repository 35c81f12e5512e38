#!/usr/bin/env bash
# Builds kindest/node:VERSION without an image registry: Debian, kind's own files for node images, the programs of
# `onehop tools install node@VERSION kind@v0.33.0`, and the control plane's images in containerd. An image that was
# built from the same inputs is kept: their hash is its label onehop.inputs.
# usage: node-image.sh VERSION          e.g. v1.36.3
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=lib.sh
source "$here/lib.sh"
version=${1:-}
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail 'usage: node-image.sh VERSION, e.g. v1.36.3'
name=kindest/node:$version
node=$tools/node/$version kind=$tools/kind/$kind_version/image

[ -d "$node" ] || fail "no node@$version here; install it: onehop tools install node@$version"
[ -d "$kind" ] || fail "no kind@$kind_version here; install it: onehop tools install kind@$kind_version"
use_engine || fail "no Docker engine answers; start one: $here/docker.sh up"

# bookworm, because the systemd of later releases starts only on cgroup v2.
release=bookworm
packages=bash,ca-certificates,conntrack,containerd,curl,ethtool,iproute2,iptables,jq,kmod,libseccomp2,mount,nftables
packages+=,procps,runc,systemd,util-linux

inputs=$(cd "$node" && {
  find . "$kind" -type f -print0 | sort -z | xargs -0 b2sum
  sha256sum <"$here/node-image.sh"
} | sha256sum | cut -c 1-64)
if [ "$(docker image inspect -f '{{index .Config.Labels "onehop.inputs"}}' "$name" 2>/dev/null)" = "$inputs" ]; then
  echo "$name is up to date"
  exit
fi
[ "$(id -u)" = 0 ] || fail 'only root can make the root of a node image'
need debootstrap=debootstrap gcc=gcc unshare=util-linux

mkdir -p "$offline"
exec 9>"$offline/node-image.lock"
flock 9
debian=$offline/debian-$(echo "$release $packages" | sha256sum | cut -c 1-12)
if [ ! -d "$debian" ]; then
  uri=$(mirror)
  rm -rf "$offline"/debian-*
  echo "unpacking Debian $release"
  debootstrap --variant=minbase --include="$packages" "$release" "$debian.partial" "$uri" >"$offline/debootstrap.log" 2>&1 ||
    fail "debootstrap failed: $(tail -n 3 "$offline/debootstrap.log")"
  rm -rf "$debian.partial"/{dev,proc,sys,tmp,usr/share/{doc,info,locale,man}}/* \
    "$debian.partial"/var/{cache/apt,cache/debconf,lib/apt/lists,log}/*
  mv "$debian.partial" "$debian"
fi

echo "building $name"
work=$offline/work
root=$work/root
rm -rf "$work"
mkdir -p "$work/images"
trap 'rm -rf "$work"' EXIT
cp -a --reflink=auto "$debian" "$root"

# As kind's own Dockerfile does, file by file. Modules of Go keep no modes.
cp -r "$kind"/. "$root/"
chmod -R u=rwX,go=rX "$root"/{kind,etc/containerd,etc/systemd/system,etc/sysctl.d,etc/default}
chmod 755 "$root"/kind/bin/* "$root"/usr/local/bin/*
rm -f "$root"/etc/systemd/system/*.wants/* "$root"/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service \
  "$root"/lib/systemd/system/{multi-user,local-fs,basic}.target.wants/* \
  "$root"/lib/systemd/system/sockets.target.wants/*{udev,initctl}*
ln -sfn /lib/systemd/systemd "$root/sbin/init"
echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
# kind compiles its own containerd and runc; these are Debian's, at another place.
ln -sfn /usr/bin/{containerd,containerd-shim-runc-v2,ctr} "$root/usr/local/bin/"
chroot "$root" sh -ec '
  systemctl -q enable kubelet containerd undo-mount-hacks
  systemctl -q mask systemd-binfmt
  ctr oci spec | jq "del(.process.rlimits) | .hooks.createContainer += [{path: \"/kind/bin/mount-product-files.sh\"}]" \
    >/etc/containerd/cri-base.json' 2>>"$work/log"
mkdir -p "$root"/{etc/kubernetes/manifests,etc/cni/net.d,opt/cni/bin,kind/manifests}
# Docker turns forwarding on where it runs. That may be a namespace from which nodes inherit nothing.
printf 'net.ipv4.ip_forward=1\nnet.ipv6.conf.all.forwarding=1\n' >"$root/etc/sysctl.d/20-forwarding.conf"
# Where a capability is missing, no score below containerd's own can be given; elsewhere this changes nothing.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root/etc/containerd/config.toml"
install -m 755 "$node"/{kubelet,kubeadm,kubectl} "$root/usr/bin/"
install -m 755 "$node"/cni/* "$root/opt/cni/bin/"
# kubelet refuses cgroup v1 unless it is told otherwise. Here, because a cluster's configuration should not have to know.
if [[ $(chroot "$root" kubelet --help 2>&1) == *--fail-cgroupv1* ]]; then
  sed -i 's/^KUBELET_EXTRA_ARGS=/&--fail-cgroupv1=false /' "$root/etc/default/kubelet"
fi
echo -n "$version" >"$root/kind/version"
# Claims of this class wait for ever: there is no image of a provisioner.
cat >"$root/kind/manifests/default-storage.yaml" <<'YAML'
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: rancher.io/local-path
volumeBindingMode: WaitForFirstConsumer
YAML

# image NAME:TAG... FOLDER: adds an image with one layer, the folder's files, to the archive that containerd imports.
entries=()
image() {
  local folder=${*: -1} tags digest config
  tags=$(printf '"%s",' "${@:1:$#-1}")
  tar -C "$folder" --sort=name --owner=0 --group=0 -cf "$work/layer" .
  digest=$(sha256sum "$work/layer" | cut -c 1-64)
  mv "$work/layer" "$work/images/$digest.tar"
  cat >"$work/config" <<JSON
{"architecture": "$(chroot "$root" dpkg --print-architecture)", "os": "linux",
 "config": {"Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Entrypoint": ${entrypoint:-null}},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$digest"]}}
JSON
  config=$(sha256sum "$work/config" | cut -c 1-64)
  mv "$work/config" "$work/images/$config.json"
  entries+=("{\"Config\":\"$config.json\",\"RepoTags\":[${tags%,}],\"Layers\":[\"$digest.tar\"]}")
  rm -rf "$folder"
}
layer=$work/layer.d
for program in kube-apiserver kube-controller-manager kube-scheduler; do
  install -D -m 755 "$node/$program" "$layer/usr/local/bin/$program"
  image "registry.k8s.io/$program:$version" "$layer"
done
install -D -m 755 "$node/etcd" "$layer/usr/local/bin/etcd"
etcd=$(chroot "$root" kubeadm config images list --kubernetes-version "$version" 2>>"$work/log" | grep /etcd:)
image "$etcd" "$layer"

# kube-proxy calls these programs; with the libraries that they need, the image is a tenth of a Debian.
install -D -m 755 "$node/kube-proxy" "$layer/usr/local/bin/kube-proxy"
mkdir -p "$layer"/usr/{bin,sbin,lib,lib64} "$layer"/{etc,tmp,run}
ln -s usr/bin usr/sbin usr/lib usr/lib64 "$layer/"
# shellcheck disable=SC2016 # the inner shell's
chroot "$root" bash -euc '
  programs=$(for name in nft iptables{,-save,-restore} ip6tables{,-save,-restore} conntrack; do command -v "$name"; done)
  # ldd names each program before its libraries. Links of alternatives become the files themselves.
  ldd $programs /usr/lib/*/xtables/*.so | grep -o "/[^ :]*" | sort -u | tar -chT - /etc/protocols 2>/dev/null' |
  tar -C "$layer" -x
image "registry.k8s.io/kube-proxy:$version" "$layer"

# The process that holds a pod's namespaces, by the name that containerd and the one that kubeadm asks for.
cat >"$work/pause.c" <<'C'
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void down(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGINT, down); signal(SIGTERM, down); signal(SIGCHLD, reap); for (;;) pause(); }
C
mkdir -p "$layer"
gcc -static -O2 -o "$layer/pause" "$work/pause.c" || fail 'gcc cannot link statically; install the package libc6-dev'
pauses=$({
  sed -n 's/.*sandbox_image = "\(.*\)"/\1/p' "$root/etc/containerd/config.toml"
  chroot "$root" kubeadm config images list --kubernetes-version "$version" 2>>"$work/log" | grep /pause:
} | sort -u)
# shellcheck disable=SC2086 # one word a name
entrypoint='["/pause"]' image $pauses "$layer"

(IFS=, && echo "[${entries[*]}]") >"$work/images/manifest.json"
printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' >"$work/containerd.toml"
# shellcheck disable=SC2016 # the inner shell's
unshare --mount --pid --fork --kill-child bash -euc '
  root=$1 work=$2
  mount --bind "$root" "$root" && cd "$root"
  mount -t proc proc proc && mount -t tmpfs tmpfs run && mount -t tmpfs tmpfs tmp && cp "$work/containerd.toml" tmp/
  chroot . containerd -c /tmp/containerd.toml >>"$work/log" 2>&1 &
  for _ in $(seq 100); do
    chroot . ctr version >/dev/null 2>&1 && break
    sleep 0.1
  done
  tar -C "$work/images" -c . | chroot . ctr -n k8s.io images import --all-platforms --no-unpack - >>"$work/log"
  kill %1
  wait %1 || true' - "$root" "$work" || fail "containerd did not take the images: $(tail -n 3 "$work/log")"
rm -rf "$work/images"

tar -C "$root" -c . | docker import \
  --change 'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]' --change 'STOPSIGNAL SIGRTMIN+3' \
  --change 'ENV container=docker' --change "LABEL onehop.inputs=$inputs" - "$name" >/dev/null
# Its predecessor has no name any more.
docker image prune -f --filter label=onehop.inputs >/dev/null
echo "$name is built"
