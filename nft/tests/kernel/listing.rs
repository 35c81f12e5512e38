//! What was written is what `nft` lists.

use libtest_mimic::Failed;
use onehop_nft::*;

use crate::ruleset::{V4, V6, Words, ruleset};
use crate::support::{listing, nft, same_text};
use crate::{Needs, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "nft_lists_the_ipv4_ruleset_as_it_was_meant",
        Needs::Nft,
        || lists(&V4),
    ),
    (
        "nft_lists_the_ipv6_ruleset_as_it_was_meant",
        Needs::Nft,
        || lists(&V6),
    ),
    ("what_nft_lists_nft_takes_back", Needs::Nft, takes_back),
];

fn lists(words: &Words) -> Result<(), Failed> {
    let ruleset = ruleset(words);
    Netfilter::open()?.commit(&mut ruleset.batch())?;
    same_text("the listing", &listing()?, &ruleset.text)
}

/// So that a person can save the rules, edit them and load them again.
fn takes_back() -> Result<(), Failed> {
    for words in [&V4, &V6] {
        let ruleset = ruleset(words).without_what_nft_refuses();
        let mut netfilter = Netfilter::open()?;
        netfilter.commit(&mut ruleset.batch())?;
        let text = listing()?;
        let mut batch = Batch::new();
        batch.delete_table(&ruleset.table);
        netfilter.commit(&mut batch)?;
        nft(&["-f", "-"], &text)?;
        same_text("the second listing", &listing()?, &text)?;
        netfilter.commit(&mut batch)?;
    }
    Ok(())
}
