//! Objects from the API, whatever they hold, become sound plans or are left out.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = onehop_proxy::fuzzing::world(bytes);
});
