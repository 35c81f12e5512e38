//! What the help of a command ends with.

pub(super) const ALL: &str = "\
Examples:
  onehop run                                           the whole suite on the bundled proxy
  onehop run --proxy kube-proxy-nftables@v1.36.3       on a release of kube-proxy, built if need be
  onehop run --proxy ./my-proxy.yaml                   on a proxy of your own

Exit codes:
  0  everything is as expected
  1  something is not: a case has failed, something became worse, a fault was not noticed
  2  it could not be judged, or what was asked for cannot be had; the text says what to do

NO_COLOR=1 leaves colours out.";

pub(super) const RUN: &str = "\
Examples:
  onehop run                                            the bundled proxy, by every case
  onehop run --proxy kube-proxy-nftables@v1.36.3        a release of kube-proxy, built where it is missing
  onehop run --proxy my.yaml external/local health-check   yours, by some cases
  onehop run --provider kind --proxy kube-proxy-nftables   in a kind cluster, made for the run
  onehop run --shard 2/4                                a quarter of the cases, for one of four machines";

pub(super) const REPORT: &str = "\
Examples:
  onehop report                                    report.html and the others of the last run
  onehop report before/                            of another run
  onehop report --schema > results.schema.json";

pub(super) const COMPARE: &str = "\
Examples:
  onehop compare before/ after/                        two runs, by their --out
  onehop compare before/ after/ --format markdown      for a comment on a change
  onehop compare --proxy kube-proxy-nftables@v1.35.4 --proxy kube-proxy-nftables@v1.36.3
                                                       two releases, run side by side";

pub(super) const EXPLAIN: &str = "\
Examples:
  onehop explain --failed                          every case of the last run that failed
  onehop explain external/local/client-ip-kept     one case
  onehop explain --dir before/                     of another run
  onehop explain --format json                     for a tool";

pub(super) const BENCH: &str = "\
Examples:
  onehop bench --services 1000
  onehop bench --proxy bundled --proxy kube-proxy-nftables --out bench/";

pub(super) const FAULTS: &str = "\
Examples:
  onehop faults --list
  onehop faults --jobs 12                                    every fault of the bundled proxy, by every case
  onehop faults --proxy kube-proxy-nftables --quick health   those with `health` in their names, each by its own cases";

pub(super) const LIST: &str = "\
Examples:
  onehop list
  onehop list --feature udp
  onehop list --format markdown > catalogue.md";

pub(super) const SHOW: &str = "\
Examples:
  onehop show external/local/node-without-pods-drops
  onehop show external/local/node-without-pods-drops --format json";

pub(super) const TRACE: &str = "\
Examples:
  onehop trace --etp Cluster --from external --to node-port@vm2
  onehop trace --etp Local --to vip --svg journey.svg
  onehop trace --itp Local --from pod@client-vm2 --to cluster-ip --endpoints web-0=terminating
  onehop trace --to node-port@vm1 --proxy bundled --proxy kube-proxy-nftables
  onehop trace --to cluster-ip --from pod@client-vm1 --format json";

pub(super) const SURVEY: &str = "\
Examples:
  onehop survey --context staging
  onehop survey --context staging --format json --no-probe";

pub(super) const LAB: &str = "\
Examples:
  onehop lab up --proxy kube-proxy-nftables
  onehop lab exec vm1 -- nft list ruleset
  onehop lab down";

pub(super) const TOOLS: &str = "\
Examples:
  onehop tools list
  onehop tools install kube-proxy@v1.34.4";

pub(super) const APISERVER: &str = "\
Examples:
  onehop apiserver --kubeconfig kubeconfig             and in another terminal:
  kubectl --kubeconfig kubeconfig get services --all-namespaces";

pub(super) const PROXY: &str = "\
Examples:
  onehop proxy --kubeconfig /etc/kubernetes/proxy.conf --cluster-cidr 10.244.0.0/16
  onehop proxy --config kube-proxy.yaml -v 2               with the file that kube-proxy has
  onehop proxy --cleanup                                   removes its rules from the node";

pub(super) const CLEAN: &str = "\
Examples:
  onehop clean --context staging";

pub(super) const IMAGE: &str = "\
Examples:
  onehop image --output onehop.tar
  onehop image | docker import --change 'ENTRYPOINT [\"/onehop\"]' --change 'ENV LD_LIBRARY_PATH=/lib' - $(onehop image --name)";

pub(super) const COMPLETIONS: &str = "\
Examples:
  onehop completions bash > /etc/bash_completion.d/onehop
  onehop completions zsh > ~/.zfunc/_onehop
  onehop completions fish > ~/.config/fish/completions/onehop.fish";

pub(super) const MANUAL: &str = "\
Examples:
  onehop manual | man -l -
  onehop manual > /usr/local/share/man/man1/onehop.1";
