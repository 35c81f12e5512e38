//! What a kernel (or whoever passes for one) answers is decoded, or called malformed.
#![no_main]

use onehop_nft::{Change, Step, decode, netlink};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = decode::all(bytes);
    for message in netlink::messages(bytes).flatten() {
        let _ = netlink::acknowledgement(&message);
        let _ = Change::of(&message);
        let _ = Step::of(&message);
    }
    let _ = onehop_proxy::fuzzing::conntrack(bytes);
});
