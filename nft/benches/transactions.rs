//! What transactions cost, in a network namespace of its own: `cargo bench -p onehop-nft`.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use onehop_nft::*;

/// How often a small transaction is repeated.
const REPEATS: u32 = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    for kind in [Kind::Values, Kind::Verdicts, Kind::LinkedVerdicts] {
        for count in [10_000, 30_000] {
            let mut bench = Bench::new(kind, count)?;
            let (encode, commit, bytes) = bench.fill()?;
            let one = bench.one_more()?;
            let read = bench.read()?;
            let watched = {
                let _changes = Changes::subscribe()?;
                (bench.refill()?, bench.one_more()?)
            };
            println!(
                "{kind:?}, {count} elements: {bytes} bytes, encoded in {encode:.1?}, committed in \
                 {commit:.1?}, read in {read:.1?}; one more and less {one:.1?}; watched: all \
                 {:.1?}, one {:.1?}",
                watched.0, watched.1
            );
        }
    }
    Ok(())
}

/// What the map gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Addresses and ports.
    Values,
    /// `goto` one of a hundred chains, in a map that no rule uses.
    Verdicts,
    /// The same in a map that the rule of a base chain uses, so that the kernel follows each.
    LinkedVerdicts,
}

struct Bench {
    netfilter: Netfilter,
    table: Table,
    kind: Kind,
    count: u32,
    batch: Batch,
}

impl Bench {
    fn new(kind: Kind, count: u32) -> Result<Self, Error> {
        let table = Table::new(Family::Ip, "bench");
        let key = [Type::Ipv4Addr, Type::InetProto, Type::InetService];
        let set = match kind {
            Kind::Values => Set::map("m", &key, &[Type::Ipv4Addr, Type::InetService]),
            Kind::Verdicts | Kind::LinkedVerdicts => Set::verdict_map("m", &key),
        };
        let mut batch = Batch::new();
        batch.destroy_table(&table);
        batch.add_table(&table);
        let base = Chain::base("base", ChainKind::Nat, Hook::Prerouting, priority::DSTNAT);
        batch.add_chain(&table, &base);
        for number in 0..100 {
            let name = format!("c{number}");
            batch.add_chain(&table, &Chain::regular(&*name));
            batch.add_rule(&table, &name, &Rule::new().set_mark(MARK.or(1)));
        }
        batch.add_set(&table, &set);
        if kind == Kind::LinkedVerdicts {
            let rule = Rule::new().vmap([IP_DADDR, L4PROTO, TH_DPORT], "m");
            batch.add_rule(&table, "base", &rule);
        }
        let mut netfilter = Netfilter::open()?;
        netfilter.commit(&mut batch)?;
        Ok(Self {
            netfilter,
            table,
            kind,
            count,
            batch,
        })
    }

    fn element(&self, number: u32) -> Element {
        let address = |number: u32| Value::from(Ipv4Addr::from(0x0a00_0000 + number));
        let key = address(number).proto(6).port(80);
        match self.kind {
            Kind::Values => Element::value(key, address(number).port(8080)),
            Kind::Verdicts | Kind::LinkedVerdicts => {
                Element::verdict(key, Verdict::goto(format!("c{}", number % 100)))
            }
        }
    }

    fn fill(&mut self) -> Result<(Duration, Duration, usize), Error> {
        let elements: Vec<_> = (0..self.count).map(|number| self.element(number)).collect();
        let started = Instant::now();
        self.batch.clear();
        self.batch.add_elements(&self.table, "m", &elements);
        let encoded = started.elapsed();
        self.netfilter.commit(&mut self.batch)?;
        Ok((encoded, started.elapsed() - encoded, self.batch.len()))
    }

    fn refill(&mut self) -> Result<Duration, Error> {
        self.batch.clear();
        self.batch.flush_set(&self.table, "m");
        self.netfilter.commit(&mut self.batch)?;
        Ok(self.fill()?.1)
    }

    /// Half of the time for adding an element and deleting it again, each in a transaction.
    fn one_more(&mut self) -> Result<Duration, Error> {
        let element = [self.element(self.count)];
        let started = Instant::now();
        for _ in 0..REPEATS {
            self.batch.clear();
            self.batch.add_elements(&self.table, "m", &element);
            self.netfilter.commit(&mut self.batch)?;
            self.batch.clear();
            self.batch.delete_elements(&self.table, "m", &element);
            self.netfilter.commit(&mut self.batch)?;
        }
        Ok(started.elapsed() / (2 * REPEATS))
    }

    fn read(&mut self) -> Result<Duration, Error> {
        let started = Instant::now();
        let read = self.netfilter.elements(&self.table, "m")?.len();
        assert_eq!(read, self.count as usize, "all elements are there");
        Ok(started.elapsed())
    }
}
