//! What a flow becomes where implementations differ, and all of them are right.
//!
//! | value | the flow |
//! |---|---|
//! | `drop`, `reject` | is ended by the node that decides |
//! | `pass`, `closed` | is served by nobody, wherever it ends |
//! | `served` | reaches who may answer |
//! | `node` | reaches who may answer, and comes from the entry node |
//! | `gateway` | the same, by the address that the node has in the network of its pods |
//! | `client` | reaches who may answer, and comes from the caller |

use super::{Expectation, Reach, Source, Variation};

impl Expectation {
    /// By each of a variation's values, what becomes of a flow: `reach`, where anybody answers.
    ///
    /// # Panics
    /// When somebody answers by one of the values and `reach` does not say who.
    pub fn varies(variation: Variation, reach: Option<&Reach>) -> Self {
        let reached = |source: Option<Source>| {
            let reach = reach.expect("who answers").clone();
            let source = source.unwrap_or(reach.source);
            Self::Reaches(Reach { source, ..reach })
        };
        // Of the sources that differ in nothing but which address of the node it is, each is one of two.
        let node = match variation {
            Variation::LocalBackendSource => Source::EntryNode,
            _ => Source::NodeAddress,
        };
        let by_value = |value: &&'static str| {
            let expect = match *value {
                "drop" => Self::Dropped,
                "reject" => Self::Refused,
                "pass" | "closed" => Self::Unserved,
                "served" => reached(None),
                "node" => reached(Some(node)),
                "gateway" => reached(Some(Source::PodGateway)),
                "client" => reached(Some(Source::Preserved)),
                other => unreachable!("{other} is no value of a variation"),
            };
            (*value, expect)
        };
        Self::Varies(variation, variation.values().iter().map(by_value).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Entry, Hops};

    #[test]
    fn every_value_of_every_variation_says_what_becomes_of_a_flow() {
        let entry = Entry::Node("vm1".to_owned());
        let reach = Reach::pods(&["web-0"], Source::EntryNode, Hops::Direct, entry);
        for variation in Variation::ALL {
            let Expectation::Varies(of, by_value) = Expectation::varies(*variation, Some(&reach))
            else {
                panic!("{variation} does not vary");
            };
            assert_eq!(of, *variation);
            let values: Vec<_> = by_value.iter().map(|(value, _)| *value).collect();
            assert_eq!(values, variation.values());
            // Two values that mean the same could not be told apart.
            for (position, (value, expect)) in by_value.iter().enumerate() {
                let mut others = by_value[..position].iter();
                assert!(
                    others.all(|(_, other)| other != expect),
                    "{variation}: {value}"
                );
            }
        }
    }
}
