//! The taps of a network, and the thread that empties them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::journey::{Call, Journey};
use super::packet::{Direction, Sighting, parse};
use super::ring::Ring;
use super::store::{Place, Record, Store};
use crate::netns::{FABRIC, Host, Namespace, Network};

/// How many sightings are kept; older ones are forgotten. A connection through a load balancer,
/// a node and a second node has about 24, so this is the last ten thousand connections or more.
/// They take at most 45 MB.
const KEPT: usize = 262_144;
/// How often the rings are emptied. On a busy machine the thread may be kept from running for some
/// time more, and the rings have to hold what comes meanwhile.
const PAUSE: Duration = Duration::from_millis(5);
/// Every how many pauses lost packets are asked for, which takes a system call per tap. A loss is
/// known to have happened between two such questions.
const PAUSES_PER_ACCOUNT: u32 = 20;
/// Size of a ring, in blocks of 256 packets and 64 KiB. A connection leaves two packets in each
/// ring on its way, so one ring holds 4096 connections: a tenth of a second of the fastest that two
/// processors can make. With rings of a quarter of that, bursts were lost on a busy machine. The
/// rings of the story's world take 69 MB.
const BLOCKS: usize = 32;
/// Loopback interfaces carry only what a host says to itself.
const LOOPBACK_BLOCKS: usize = 2;
/// How long a frame that the kernel has begun to write may take. It takes microseconds, unless a
/// hypervisor stops the processor in the middle.
const SETTLE: Duration = Duration::from_millis(250);

/// Why there is no journey to show.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// A tap could not be opened or read.
    #[error("failed to tap {interface} of {host}")]
    Socket {
        /// The host.
        host: String,
        /// The interface, or what else was asked of the host.
        interface: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The thread that empties the taps could not be started.
    #[error("failed to start the thread that empties the taps")]
    Thread(#[source] io::Error),
    /// Packets were lost while the connection was made, so its journey may have gaps.
    #[error("the taps lost {0} packets, and the journey may have gaps")]
    Lost(u64),
    /// Frames stayed half written for longer than any kernel should take.
    #[error("the taps did not settle")]
    Unsettled,
    /// No such call left the host, or it was so long ago that it is forgotten.
    #[error("no tap saw {from} call {remote} from {local} ({forgotten} older sightings forgotten)")]
    NotSeen {
        /// The calling host.
        from: String,
        /// Its own address, as its socket tells it.
        local: SocketAddr,
        /// The called address.
        remote: SocketAddr,
        /// How many sightings have been forgotten to bound the store.
        forgotten: u64,
    },
    /// The calling host rewrites its own calls, and several of them could be the one asked for.
    #[error(
        "{from} rewrote its own call from {local}, and {candidates} calls may be it; ask by \
         sequence number"
    )]
    Ambiguous {
        /// The calling host.
        from: String,
        /// Its own address, as its socket tells it.
        local: SocketAddr,
        /// How many calls may be it.
        candidates: usize,
    },
}

/// What the taps have cost and seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapStatistics {
    /// Interfaces tapped.
    pub taps: usize,
    /// Sightings that are in the store.
    pub kept: usize,
    /// Sightings that younger ones have pushed out of the store.
    pub forgotten: u64,
    /// Packets that the kernel could not hand over.
    pub lost: u64,
    /// Processor time of the thread that empties the taps.
    pub thread_time: Duration,
}

/// Taps on all interfaces of a network, open until dropped.
#[derive(Debug)]
pub struct Taps {
    shared: Arc<Mutex<Shared>>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Taps {
    /// Taps every interface that the hosts of a network have now, except those of the fabric: it
    /// only passes on what its neighbours' taps see anyway.
    ///
    /// # Errors
    /// When the kernel refuses a tap.
    pub fn start(network: &Network) -> Result<Self, TapError> {
        let hosts = network.hosts().filter(|host| host.name() != FABRIC);
        Self::on(hosts.map(Host::namespace))
    }

    /// Taps every interface that these hosts have now, loopback included: a host that calls
    /// itself, or refuses its own call, is seen nowhere else.
    ///
    /// # Errors
    /// When the kernel refuses a tap.
    pub fn on<'a>(hosts: impl IntoIterator<Item = &'a Namespace>) -> Result<Self, TapError> {
        let epoch = clock();
        let taps = open_all(hosts.into_iter().collect())?;
        let shared = Arc::new(Mutex::new(Shared::new(taps, epoch, KEPT)));
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("taps".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || empty_until(&stopped, &shared)
        });
        Ok(Self {
            shared,
            stop: Some(stop),
            thread: Some(thread.map_err(TapError::Thread)?),
        })
    }

    /// The journey of the latest connection that a host made from `local` to `remote`: what its
    /// socket calls its own address, and the address that it was told to call.
    ///
    /// Everything that the taps had seen when this was called is in it. A caller that has its
    /// answer can ask at once; one that waits for an answer that may not come waits first.
    ///
    /// A node may rewrite its own calls before they leave. Then the call is looked for by its
    /// source alone, and has to be the only one of the node from there that the taps remember. A
    /// node that also rewrites source ports can give one call the port of another: ask for such
    /// calls by [`Self::journey_of`].
    ///
    /// # Errors
    /// When packets were lost at the time, when no such call was seen, or when several were.
    pub fn journey(
        &self,
        from: &str,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Journey, TapError> {
        let call = Call::new(from, local, remote);
        let mut shared = self.lock();
        shared.settle()?;
        match shared.find(&call)? {
            Some(sequence) => shared.journey(&call, sequence),
            None => Err(shared.not_seen(&call)),
        }
    }

    /// The journey of a connection whose initial sequence number the caller has chosen, with
    /// [`super::choose_sequence`]. It is found whatever became of its addresses.
    ///
    /// # Errors
    /// When packets were lost at the time, or when no such call was seen.
    pub fn journey_of(&self, call: &Call, sequence: u32) -> Result<Journey, TapError> {
        let mut shared = self.lock();
        shared.settle()?;
        shared.journey(call, sequence)
    }

    /// The journeys of many connections, as [`Self::journey_of`] tells each, read at once. One
    /// that no tap saw has none: a host can refuse or drop a call of its own before it reaches any
    /// interface.
    ///
    /// # Errors
    /// When packets were lost at the time.
    pub fn journeys_of(
        &self,
        calls: impl IntoIterator<Item = (Call, u32)>,
    ) -> Result<Vec<Option<Journey>>, TapError> {
        let mut shared = self.lock();
        shared.settle()?;
        let journey = |(call, sequence)| match shared.journey(&call, sequence) {
            Err(TapError::NotSeen { .. }) => Ok(None),
            journey => journey.map(Some),
        };
        calls.into_iter().map(journey).collect()
    }

    /// What the taps have cost and seen so far.
    pub fn statistics(&self) -> TapStatistics {
        self.lock().statistics()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic elsewhere leaves the store as it was between two records.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has already been printed, and nothing is lost by it here.
            let _ = thread.join();
        }
        let taps = std::mem::take(&mut self.lock().taps);
        close_all(taps);
    }
}

fn empty_until(stopped: &mpsc::Receiver<()>, shared: &Mutex<Shared>) {
    for pass in 1u32.. {
        if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if pass % PAUSES_PER_ACCOUNT == 0 {
            // An error here comes again when a journey is asked for, and is reported there.
            let _ = shared.account();
        }
        shared.drain();
        shared.thread_time = thread_time();
    }
}

/// The processor time that the calling thread has used.
fn thread_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// A time in which packets were lost, since the taps started.
#[derive(Clone, Copy, Debug)]
struct Loss {
    from: Duration,
    to: Duration,
    packets: u64,
}

#[derive(Debug)]
struct Tap {
    host: String,
    interface: String,
    ring: Ring,
}

/// Opens the taps of all hosts at once: the kernel waits some 15 ms for all of its processors
/// whenever a ring is made or removed, and lets those who wait do so together.
fn open_all(hosts: Vec<&Namespace>) -> Result<Vec<Tap>, TapError> {
    thread::scope(|scope| {
        let opening: Vec<_> = hosts
            .into_iter()
            .map(|host| scope.spawn(|| open(host)))
            .collect();
        let opened = opening.into_iter().map(|opening| {
            let opened = opening.join();
            opened.expect("the thread does not panic")
        });
        let opened: Result<Vec<_>, _> = opened.collect();
        Ok(opened?.into_iter().flatten().collect())
    })
}

/// Opens a tap on each interface of a host.
///
/// One tap per interface, rather than one for all of a host's: older kernels keep the latter in
/// one list of the machine, and show every packet of every host to every tap.
fn open(host: &Namespace) -> Result<Vec<Tap>, TapError> {
    let error = |interface: &str, source: io::Error| TapError::Socket {
        host: host.name().to_owned(),
        interface: interface.to_owned(),
        source,
    };
    let opened = host.within(|| {
        let interfaces = nix::net::if_::if_nameindex().map_err(|e| error("all", e.into()))?;
        let tap = |interface: &nix::net::if_::Interface| {
            let name = interface.name().to_string_lossy().into_owned();
            let blocks = if name == "lo" {
                LOOPBACK_BLOCKS
            } else {
                BLOCKS
            };
            let ring =
                Ring::open(interface.index(), blocks).map_err(|source| error(&name, source))?;
            Ok(Tap {
                host: host.name().to_owned(),
                interface: name,
                ring,
            })
        };
        interfaces.iter().map(tap).collect()
    });
    opened.map_err(|source| error("all", source))?
}

/// Closes taps at once, for the same reason.
fn close_all(taps: Vec<Tap>) {
    thread::scope(|scope| {
        for tap in taps {
            scope.spawn(move || drop(tap));
        }
    });
}

#[derive(Debug)]
struct Shared {
    taps: Vec<Tap>,
    store: Store,
    /// When the taps started, by the machine's clock, which is the one of the kernel's stamps.
    epoch: Duration,
    accounted: Duration,
    losses: Vec<Loss>,
    thread_time: Duration,
}

impl Shared {
    fn new(taps: Vec<Tap>, epoch: Duration, kept: usize) -> Self {
        Self {
            taps,
            store: Store::new(kept),
            epoch,
            accounted: Duration::ZERO,
            losses: Vec::new(),
            thread_time: Duration::ZERO,
        }
    }

    /// Moves what is ready from the rings to the store.
    fn drain(&mut self) {
        for (place, tap) in self.taps.iter_mut().enumerate() {
            let place = Place::try_from(place).expect("a lab has fewer than 65536 interfaces");
            tap.ring.drain(|frame| {
                let Some(packet) = parse(frame.data) else {
                    return;
                };
                self.store.push(Record {
                    place,
                    direction: if frame.outgoing {
                        Direction::Out
                    } else {
                        Direction::In
                    },
                    packet,
                    at: frame.stamp.saturating_sub(self.epoch),
                });
            });
        }
    }

    /// Asks every tap what it has taken and lost since the last time.
    fn account(&mut self) -> Result<(), TapError> {
        let now = clock().saturating_sub(self.epoch);
        let mut packets = 0;
        for tap in &mut self.taps {
            let lost = tap.ring.account().map_err(|source| TapError::Socket {
                host: tap.host.clone(),
                interface: tap.interface.clone(),
                source,
            })?;
            packets += u64::from(lost);
        }
        if packets > 0 {
            let from = self.accounted;
            let to = clock().saturating_sub(self.epoch);
            self.losses.push(Loss { from, to, packets });
        }
        self.accounted = now;
        Ok(())
    }

    /// Brings everything into the store that the kernel has shown to a tap by now.
    fn settle(&mut self) -> Result<(), TapError> {
        self.account()?;
        self.drain();
        let started = Instant::now();
        while self.taps.iter().any(|tap| tap.ring.is_behind()) {
            if started.elapsed() > SETTLE {
                return Err(TapError::Unsettled);
            }
            thread::yield_now();
            self.drain();
        }
        Ok(())
    }

    /// The sequence number of the latest call that can be the one asked for.
    fn find(&self, call: &Call) -> Result<Option<u32>, TapError> {
        let sent = |record: &&Record| self.taps[usize::from(record.place)].host == call.from;
        let latest = |found: &mut dyn Iterator<Item = &Record>| {
            let found = found.max_by_key(|record| record.at);
            found.map(|record| record.packet.sequence)
        };
        let by_source = || self.store.of_caller(call.local).filter(sent);
        let exact = latest(&mut by_source().filter(|r| r.packet.destination == call.remote));
        if exact.is_some() {
            return Ok(exact);
        }
        // The host has rewritten its own call. A source that is still the same tells which.
        let candidates: BTreeSet<u32> = by_source()
            .filter(|record| self.originates(record))
            .map(|record| record.packet.sequence)
            .collect();
        match candidates.len() {
            0 => Ok(None),
            1 => Ok(candidates.first().copied()),
            candidates => Err(TapError::Ambiguous {
                from: call.from.clone(),
                local: call.local,
                candidates,
            }),
        }
    }

    /// Whether a SYN that a host sent was its own, rather than one that it passed on.
    fn originates(&self, sent: &Record) -> bool {
        let host = &self.taps[usize::from(sent.place)].host;
        let mut same = self.store.of_sequence(sent.packet.sequence);
        !same.any(|record| {
            record.direction == Direction::In
                && record.at <= sent.at
                && self.taps[usize::from(record.place)].host == *host
        })
    }

    fn journey(&self, call: &Call, sequence: u32) -> Result<Journey, TapError> {
        let records = self.store.of_sequence(sequence);
        let sightings = records.map(|record| self.sighting(record)).collect();
        let Some(journey) = Journey::assemble(call.clone(), sightings) else {
            return Err(self.not_seen(call));
        };
        match self.lost_during(&journey) {
            0 => Ok(journey),
            packets => Err(TapError::Lost(packets)),
        }
    }

    fn sighting(&self, record: &Record) -> Sighting {
        let tap = &self.taps[usize::from(record.place)];
        Sighting {
            host: tap.host.clone(),
            interface: tap.interface.clone(),
            direction: record.direction,
            source: record.packet.source,
            destination: record.packet.destination,
            ttl: record.packet.ttl,
            kind: record.packet.kind,
            sequence: record.packet.sequence,
            at: record.at,
        }
    }

    /// Packets lost while the journey was under way. One that came back was under way until then;
    /// one that did not may have lost its end at any time since.
    fn lost_during(&self, journey: &Journey) -> u64 {
        let all = || journey.request.iter().chain(&journey.reply);
        let (began, ended) = (
            all().map(|s| s.at).min().unwrap_or_default(),
            all().map(|s| s.at).max().unwrap_or_default(),
        );
        let open = !journey.came_back();
        let overlaps = |loss: &&Loss| loss.to >= began && (open || loss.from <= ended);
        let losses = self.losses.iter().filter(overlaps);
        losses.map(|loss| loss.packets).sum()
    }

    /// A call that no tap saw may be among what the taps have lost.
    fn not_seen(&self, call: &Call) -> TapError {
        match self.lost() {
            0 => TapError::NotSeen {
                from: call.from.clone(),
                local: call.local,
                remote: call.remote,
                forgotten: self.store.forgotten(),
            },
            packets => TapError::Lost(packets),
        }
    }

    fn lost(&self) -> u64 {
        self.losses.iter().map(|loss| loss.packets).sum()
    }

    fn statistics(&self) -> TapStatistics {
        TapStatistics {
            taps: self.taps.len(),
            kept: self.store.len(),
            forgotten: self.store.forgotten(),
            lost: self.lost(),
            thread_time: self.thread_time,
        }
    }
}

/// The machine's clock, since the epoch.
fn clock() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::Kind;

    const MS: Duration = Duration::from_millis(1);

    fn sighting(host: &str, direction: Direction, kind: Kind, at: Duration) -> Sighting {
        Sighting {
            host: host.to_owned(),
            interface: "eth0".to_owned(),
            direction,
            source: ([10, 0, 0, 1], 40).into(),
            destination: ([10, 0, 0, 2], 80).into(),
            ttl: 64,
            kind,
            sequence: 7,
            at,
        }
    }

    /// A journey from 10 ms on, answered at 12 ms or not at all, read by taps with one loss.
    fn lost(answered: bool, from: Duration, to: Duration) -> u64 {
        let mut sightings = vec![sighting("a", Direction::Out, Kind::Syn, 10 * MS)];
        if answered {
            sightings.push(sighting("a", Direction::In, Kind::SynAck, 12 * MS));
        }
        let call = Call::new("a", ([10, 0, 0, 1], 40).into(), ([10, 0, 0, 2], 80).into());
        let journey = Journey::assemble(call, sightings).expect("the call was seen");
        let mut shared = Shared::new(Vec::new(), Duration::ZERO, 10);
        let packets = 3;
        shared.losses.push(Loss { from, to, packets });
        shared.lost_during(&journey)
    }

    #[test]
    fn a_loss_spoils_the_journeys_of_its_time_and_no_others() {
        assert_eq!(lost(true, 2 * MS, 9 * MS), 0);
        assert_eq!(lost(true, 2 * MS, 11 * MS), 3);
        assert_eq!(lost(true, 11 * MS, 90 * MS), 3);
        assert_eq!(lost(true, 13 * MS, 90 * MS), 0);
        assert_eq!(lost(false, 13 * MS, 90 * MS), 3);
    }
}
