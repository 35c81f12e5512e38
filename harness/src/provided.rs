//! A proxy about to be judged, and who provides the lab for it.

use std::path::PathBuf;

use crate::cluster::{self, ExistingOptions, PodImage, RunId};
use crate::kind::{self, KindLabError, KindOptions};
use crate::lab::{ApiKind, Lab, LabOptions, ProxyUnderTest};
use crate::profile::Profile;
use crate::run::{ProxyInfo, differs};
use crate::timing::Timing;
use crate::world::World;

/// A proxy, and who provides its lab.
#[derive(Clone)]
pub enum Provided {
    /// Network namespaces of this machine.
    Netns {
        /// The proxy.
        proxy: Box<ProxyUnderTest>,
        /// The API that it watches.
        api: ApiKind,
    },
    /// A kind cluster, made for the lab unless its options name one.
    Kind {
        /// What is there of Docker and kind.
        checked: kind::Checked,
        /// The proxy among them. The directory and the timing are the lab's.
        options: Box<KindOptions>,
    },
    /// A cluster of somebody's.
    Existing {
        /// How to speak with it.
        client: kube::Client,
        /// The proxy that it runs.
        profile: Box<Profile>,
        /// onehop's image, which its nodes have or can pull.
        image: PodImage,
        /// The name of the run.
        run: RunId,
    },
}

impl Provided {
    /// The proxy.
    pub fn profile(&self) -> &Profile {
        match self {
            Self::Netns { proxy, .. } => &proxy.profile,
            Self::Kind { options, .. } => &options.profile,
            Self::Existing { profile, .. } => profile,
        }
    }

    /// The same with this profile in place of the proxy's own.
    #[must_use]
    pub fn with_profile(mut self, changed: Profile) -> Self {
        match &mut self {
            Self::Netns { proxy, .. } => proxy.profile = changed,
            Self::Kind { options, .. } => options.profile = changed,
            Self::Existing { profile, .. } => **profile = changed,
        }
        self
    }

    /// What is known of the proxy before anything was judged. Of one that a cluster of somebody's runs, that is its profile.
    pub fn info(&self) -> ProxyInfo {
        let profile = self.profile();
        ProxyInfo {
            name: profile.name.clone(),
            version: self.version(),
            mode: profile.mode.clone(),
            implementation: profile.implementation.clone(),
            unsupported: profile.features.unsupported.clone(),
            variations: differs(&profile.variations, &[]),
            ..ProxyInfo::default()
        }
    }

    fn version(&self) -> Option<String> {
        match self {
            Self::Netns { proxy, .. } => proxy.program.version.clone(),
            Self::Kind { options, .. } => match options.profile.tool {
                Some(tool) => Some(tool.version.to_string()),
                None => options.profile.find_program(None).ok()?.version,
            },
            Self::Existing { .. } => None,
        }
    }

    /// Starts a lab with the world of the story, in an absolute directory of its own.
    ///
    /// # Errors
    /// When any part of it fails; what was made is removed again.
    pub async fn start(self, dir: PathBuf, timing: Timing) -> Result<Lab, KindLabError> {
        match self {
            Self::Netns { proxy, api } => {
                let lab = Lab::start(LabOptions {
                    world: World::story(),
                    api,
                    proxy: Some(*proxy),
                    dir,
                    timing,
                });
                Ok(lab.await?)
            }
            Self::Kind { checked, options } => {
                let options = KindOptions {
                    dir,
                    timing,
                    ..*options
                };
                kind::start(&checked, options).await
            }
            Self::Existing {
                client,
                profile,
                image,
                run,
            } => {
                let options = ExistingOptions {
                    profile: *profile,
                    image,
                    run,
                    dir,
                    timing,
                };
                Ok(cluster::start(client, options).await?)
            }
        }
    }
}
