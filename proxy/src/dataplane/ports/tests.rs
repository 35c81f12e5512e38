use super::*;

fn endpoints(numbers: &[u8]) -> Vec<SocketAddr> {
    let numbers = numbers.iter();
    numbers
        .map(|number| SocketAddr::from(([10, 0, 0, *number], 80)))
        .collect()
}

#[test]
fn endpoints_keep_their_places() {
    let settle = |before: &[u8], mut list: Vec<SocketAddr>| {
        keep_places(&endpoints(before), &mut list);
        list
    };
    // One in the place of another; one more at the end; one less, with the last in its place.
    assert_eq!(
        settle(&[1, 2, 3], endpoints(&[1, 3, 4])),
        endpoints(&[1, 4, 3])
    );
    assert_eq!(
        settle(&[2, 3], endpoints(&[1, 2, 3])),
        endpoints(&[2, 3, 1])
    );
    assert_eq!(settle(&[1, 2, 3], endpoints(&[2, 3])), endpoints(&[3, 2]));
    assert_eq!(settle(&[], endpoints(&[1, 2])), endpoints(&[1, 2]));
    assert_eq!(settle(&[1, 2], endpoints(&[])), endpoints(&[]));
}

#[test]
fn ranges_that_overlap_or_touch_become_one() {
    let merged = |ranges: &[&str]| {
        let ranges = ranges.iter();
        let merged = merge(ranges.map(|range| range.parse().expect("a range")));
        let merged = merged.into_iter();
        merged
            .map(|(first, last)| format!("{first}-{last}"))
            .collect::<Vec<_>>()
    };
    let touching = ["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7/32", "10.0.3.0/24"];
    assert_eq!(
        merged(&touching),
        ["10.0.0.0-10.0.1.255", "10.0.3.0-10.0.3.255"]
    );
    let whole = ["0.0.0.0/0", "255.255.255.255/32"];
    assert_eq!(merged(&whole), ["0.0.0.0-255.255.255.255"]);
    assert_eq!(merged(&["::/0", "ffff::/16"]).len(), 1);
    assert!(merged(&[]).is_empty());
}

/// Another process counts the same, in whatever order the endpoints are, or affinity would not survive it.
#[test]
fn slots_are_the_same_everywhere_and_none_is_taken_twice() {
    let forwards = endpoints(&[1, 2, 3]);
    let backwards = endpoints(&[3, 2, 1]);
    let mut reversed = slots(&backwards);
    reversed.reverse();
    assert_eq!(slots(&forwards), reversed);
    assert_eq!(slots(&endpoints(&[1])), [0x1d3c_034b]);
    // The same hash twice: the same endpoint, which a plan does not have twice.
    let twice = slots(&endpoints(&[1, 1]));
    assert_eq!(twice, [0x1d3c_034b, 0x1d3c_034c]);
}
