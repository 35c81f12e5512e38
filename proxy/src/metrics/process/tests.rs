use super::*;

#[test]
fn a_line_of_stat_is_read_whatever_the_program_is_called() {
    let stat = "7 (a) S (b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 999 8192000 250 18446744073709551615 1";
    let usage = Usage::parse(stat, 100, 4096, 9).unwrap();
    assert_eq!(
        usage,
        Usage {
            cpu: Duration::from_secs(2),
            resident: 250 * 4096,
            virtual_size: 8_192_000,
            open_files: 9,
        }
    );
    assert_eq!(Usage::parse("7 (a) S 1", 100, 4096, 9), None);
}

#[test]
fn this_process_uses_something() {
    let usage = Usage::read().unwrap();
    assert!(
        usage.resident > 100_000 && usage.open_files > 2,
        "{usage:?}"
    );
}
