//! A proxy to be judged, and what provides its lab.

use onehop_harness::cluster::{PodImage, RunId};
use onehop_harness::kind::{self, KindOptions};
use onehop_harness::lab::{ApiKind, ProxyUnderTest};
use onehop_harness::profile::Profile;
use onehop_harness::provided::Provided;
use onehop_harness::run::{ProxyInfo, differs};

/// A proxy to be judged, and where.
pub(super) struct Subject {
    version: Option<String>,
    pub(super) provided: Provided,
}

impl Subject {
    pub(super) fn netns(proxy: ProxyUnderTest, api: ApiKind) -> Self {
        Self {
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
            version: None,
            provided: Provided::Existing {
                client,
                profile: Box::new(profile),
                image,
                run,
            },
        }
    }

    pub(super) fn kind(checked: kind::Checked, options: KindOptions) -> Self {
        let profile = &options.profile;
        Self {
            version: match profile.tool {
                Some(tool) => Some(tool.version.to_string()),
                None => profile
                    .find_program(None)
                    .ok()
                    .and_then(|program| program.version),
            },
            provided: Provided::Kind {
                checked,
                options: Box::new(options),
            },
        }
    }

    pub(super) fn profile(&self) -> &Profile {
        self.provided.profile()
    }

    pub(super) fn info(&self) -> ProxyInfo {
        let profile = self.profile();
        ProxyInfo {
            name: profile.name.clone(),
            version: self.version.clone(),
            mode: profile.mode.clone(),
            implementation: profile.implementation.clone(),
            unsupported: profile.features.unsupported.clone(),
            variations: differs(&profile.variations, &[]),
            ..ProxyInfo::default()
        }
    }
}
