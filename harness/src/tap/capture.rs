//! The taps of a network, and the thread that empties them.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::packet::{Direction, Sighting, parse};
use super::ring::Ring;
use super::seen::{Loss, Seen};
use super::store::{Limits, Place, Record, Store};
use crate::netns::{FABRIC, Host, Namespace, Network};

/// What is remembered. A connection through a load balancer, a node and a second node has about 24
/// sightings, so `enough` is the last ten thousand connections or more. A batch of calls asks for
/// its journeys only when the last of them is settled, and a half-open one takes
/// [`crate::timing::Timing::answer`] to be; ten seconds are three times that. Meanwhile other
/// batches may make more than `enough`, but hardly `most`: that takes a hundred thousand sightings
/// a second, all the while. `enough` takes 35 MB, `most` 135 MB.
const LIMITS: Limits = Limits {
    enough: 262_144,
    age: Duration::from_secs(10),
    most: 1_048_576,
};
/// How often the rings are emptied. On a busy machine the thread may be kept from running for some
/// time more, and the rings have to hold what comes meanwhile.
const PAUSE: Duration = Duration::from_millis(5);
/// Every how many pauses lost packets are asked for, which takes a system call per tap. A loss is
/// known to have happened between two such questions.
const PAUSES_PER_ACCOUNT: u32 = 20;
/// Size of a ring, in blocks of 256 packets and 64 KiB. A connection leaves two packets in each
/// ring on its way, so one ring holds 4096 connections: a tenth of a second of the fastest that two
/// processors can make. With rings of a quarter of that, bursts were lost on a busy machine. The
/// rings of the story's world take some 80 MB.
const BLOCKS: usize = 32;
/// Loopback interfaces carry only what a host says to itself: mostly refusals of its own calls, of which
/// the largest wave leaves two packets each.
const LOOPBACK_BLOCKS: usize = 8;
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
    #[error("the tap of {} on {} lost {} packets, and the journey may have gaps", .0.host, .0.interface, .0.packets)]
    Lost(Loss),
    /// Frames stayed half written for longer than any kernel should take.
    #[error("the taps did not settle")]
    Unsettled,
    /// Sightings of that time have been forgotten, and those of the connection may be among them.
    #[error("the taps have seen so much since that they have forgotten the journey")]
    Forgotten,
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
        Self::on(hosts.map(Host::namespace), now())
    }

    /// Taps every interface that these hosts have now, loopback included: a host that calls
    /// itself, or refuses its own call, is seen nowhere else. Times are counted since `epoch`, a
    /// time by [`now`]: taps whose sightings are put together have a common one.
    ///
    /// # Errors
    /// When the kernel refuses a tap.
    pub fn on<'a>(
        hosts: impl IntoIterator<Item = &'a Namespace>,
        epoch: Duration,
    ) -> Result<Self, TapError> {
        let taps = open_all(hosts.into_iter().collect(), &BTreeSet::new())?;
        let shared = Arc::new(Mutex::new(Shared::new(taps, epoch, LIMITS)));
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

    /// Taps every interface of these hosts that is not tapped yet. One that is gone meanwhile keeps its tap, which
    /// sees nothing any more.
    ///
    /// # Errors
    /// When the kernel refuses a tap.
    pub fn extend<'a>(
        &self,
        hosts: impl IntoIterator<Item = &'a Namespace>,
    ) -> Result<(), TapError> {
        let known: BTreeSet<_> = self.lock().taps.iter().map(Tap::key).collect();
        // Rings are made without the lock: the thread goes on emptying the others.
        let further = open_all(hosts.into_iter().collect(), &known)?;
        self.lock().taps.extend(further);
        Ok(())
    }

    /// The present time as the taps count it: see [`Sighting::at`].
    pub fn now(&self) -> Duration {
        self.lock().now()
    }

    /// What these taps have seen of calls whose initial sequence numbers the caller has chosen, with
    /// [`super::choose_sequence`]. They are found whatever became of their addresses.
    ///
    /// Everything that the taps had seen when this was called is in it. A caller that has its
    /// answer can ask at once; one that waits for an answer that may not come waits first.
    ///
    /// # Errors
    /// When a tap cannot be read.
    pub fn seen(&self, sequences: &[u32]) -> Result<Seen, TapError> {
        let (found, places, losses, forgotten_until) = {
            let mut shared = self.lock();
            shared.settle()?;
            let found: Vec<Vec<Record>> = sequences
                .iter()
                .map(|sequence| shared.store.of_sequence(*sequence).copied().collect())
                .collect();
            let places: Vec<_> = shared.taps.iter().map(Tap::place).collect();
            let forgotten_until = shared.store.forgotten_until();
            (found, places, shared.losses.clone(), forgotten_until)
        };
        // Names are added without the lock: meanwhile the thread goes on emptying the rings.
        let named = |records: Vec<Record>| {
            let records = records.into_iter();
            records.map(|record| sighting(&record, &places)).collect()
        };
        Ok(Seen {
            sightings: found.into_iter().map(named).collect(),
            losses,
            forgotten_until,
        })
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

#[derive(Debug)]
struct Tap {
    host: String,
    interface: String,
    index: u32,
    ring: Ring,
}

/// A host's name, and the number of an interface, which the kernel gives to no other one of that host.
type Key = (String, u32);

impl Tap {
    fn key(&self) -> Key {
        (self.host.clone(), self.index)
    }

    /// The names of its host and of its interface.
    fn place(&self) -> (String, String) {
        (self.host.clone(), self.interface.clone())
    }
}

/// Opens the taps of all hosts at once: the kernel waits some 15 ms for all of its processors
/// whenever a ring is made or removed, and lets those who wait do so together.
fn open_all(hosts: Vec<&Namespace>, known: &BTreeSet<Key>) -> Result<Vec<Tap>, TapError> {
    thread::scope(|scope| {
        let opening: Vec<_> = hosts
            .into_iter()
            .map(|host| scope.spawn(|| open(host, known)))
            .collect();
        let opened = opening.into_iter().map(|opening| {
            let opened = opening.join();
            opened.expect("the thread does not panic")
        });
        let opened: Result<Vec<_>, _> = opened.collect();
        Ok(opened?.into_iter().flatten().collect())
    })
}

/// Opens a tap on each interface of a host that is not known.
///
/// One tap per interface, rather than one for all of a host's: older kernels keep the latter in
/// one list of the machine, and show every packet of every host to every tap.
fn open(host: &Namespace, known: &BTreeSet<Key>) -> Result<Vec<Tap>, TapError> {
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
                index: interface.index(),
                ring,
            })
        };
        let is_new = |interface: &&nix::net::if_::Interface| {
            !known.contains(&(host.name().to_owned(), interface.index()))
        };
        interfaces.iter().filter(is_new).map(tap).collect()
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
    /// The time that others are counted since, by the machine's clock.
    epoch: Duration,
    accounted: Duration,
    losses: Vec<Loss>,
    thread_time: Duration,
}

impl Shared {
    fn new(taps: Vec<Tap>, epoch: Duration, limits: Limits) -> Self {
        Self {
            taps,
            store: Store::new(limits),
            epoch,
            accounted: Duration::ZERO,
            losses: Vec::new(),
            thread_time: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        now().saturating_sub(self.epoch)
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
        let epoch = self.epoch;
        let clock = || now().saturating_sub(epoch);
        let began = clock();
        for tap in &mut self.taps {
            let lost = tap.ring.account().map_err(|source| TapError::Socket {
                host: tap.host.clone(),
                interface: tap.interface.clone(),
                source,
            })?;
            if lost > 0 {
                self.losses.push(Loss {
                    host: tap.host.clone(),
                    interface: tap.interface.clone(),
                    from: self.accounted,
                    to: clock(),
                    packets: lost.into(),
                });
            }
        }
        self.accounted = began;
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

/// A record with the names of where it was made: the places' hosts and interfaces, by their numbers.
fn sighting(record: &Record, places: &[(String, String)]) -> Sighting {
    let (host, interface) = &places[usize::from(record.place)];
    Sighting {
        host: host.clone(),
        interface: interface.clone(),
        direction: record.direction,
        source: record.packet.source,
        destination: record.packet.destination,
        ttl: record.packet.ttl,
        kind: record.packet.kind,
        sequence: record.packet.sequence,
        at: record.at,
    }
}

/// The machine's clock, which is the one of the kernel's stamps, since 1970.
pub fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}
