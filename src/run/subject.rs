//! A proxy to be judged, and what provides its lab.

use onehop_harness::cluster::{PodImage, RunId};
use onehop_harness::kind::{self, KindOptions};
use onehop_harness::lab::{ApiKind, ProxyUnderTest};
use onehop_harness::profile::Profile;
use onehop_harness::run::{ProxyInfo, differs};

/// A proxy to be judged, and where.
pub(super) struct Subject {
    pub(super) profile: Profile,
    version: Option<String>,
    pub(super) provided: Provided,
}

/// Who provides the lab that a proxy is judged in.
pub(super) enum Provided {
    Netns {
        proxy: Box<ProxyUnderTest>,
        api: ApiKind,
    },
    Kind {
        checked: kind::Checked,
        options: Box<KindOptions>,
    },
    Existing {
        client: kube::Client,
        image: PodImage,
        run: RunId,
    },
}

impl Subject {
    pub(super) fn netns(proxy: ProxyUnderTest, api: ApiKind) -> Self {
        Self {
            profile: proxy.profile.clone(),
            version: proxy.program.version.clone(),
            provided: Provided::Netns {
                proxy: Box::new(proxy),
                api,
            },
        }
    }

    /// What runs there is known by its profile alone.
    pub(super) fn existing(
        profile: Profile,
        image: PodImage,
        run: RunId,
        client: kube::Client,
    ) -> Self {
        Self {
            profile,
            version: None,
            provided: Provided::Existing { client, image, run },
        }
    }

    pub(super) fn kind(checked: kind::Checked, options: KindOptions) -> Self {
        let profile = options.profile.clone();
        Self {
            version: match profile.tool {
                Some(tool) => Some(tool.version.to_string()),
                None => profile
                    .find_program(None)
                    .ok()
                    .and_then(|program| program.version),
            },
            profile,
            provided: Provided::Kind {
                checked,
                options: Box::new(options),
            },
        }
    }

    pub(super) fn info(&self) -> ProxyInfo {
        ProxyInfo {
            name: self.profile.name.clone(),
            version: self.version.clone(),
            mode: self.profile.mode.clone(),
            implementation: self.profile.implementation.clone(),
            unsupported: self.profile.features.unsupported.clone(),
            variations: differs(&self.profile.variations, &[]),
            ..ProxyInfo::default()
        }
    }
}
