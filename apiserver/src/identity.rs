//! Identities and times that the server gives to objects.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;

/// Random enough for identities that only have to differ: a keyed hash of a counter, keyed by the operating system.
fn random() -> u64 {
    static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    KEYED.hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A version 4 UUID.
pub(crate) fn uid() -> String {
    let (high, low) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        (low >> 48) & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

/// Five characters without vowels, as upstream appends them to `generateName`.
pub(crate) fn name_suffix() -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = random();
    (0..5)
        .map(|_| {
            let index = usize::try_from(random % 27).unwrap_or_default();
            random /= 27;
            char::from(ALPHABET[index])
        })
        .collect()
}

fn unix_seconds() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or_default()
}

/// The time in whole seconds, as `metav1.Time` is written.
pub(crate) fn now() -> String {
    in_seconds(0)
}

/// The time in some seconds, as `metav1.Time` is written.
pub(crate) fn in_seconds(seconds: i64) -> String {
    Timestamp::from_second(unix_seconds().saturating_add(seconds))
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// Seconds since a time that [`now`] wrote.
pub(crate) fn seconds_since(time: &str) -> Option<i64> {
    let then: Timestamp = time.parse().ok()?;
    Some(unix_seconds() - then.as_second())
}
