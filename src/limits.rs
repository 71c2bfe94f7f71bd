//! Every limit in one place, each with its reason.

use std::time::Duration;

/// Largest encoded event. What is bigger is an attachment: a log must stay cheap to copy whole.
pub const EVENT_BYTES: usize = 16 * 1024;
/// Most ids in `seen`, and in `refs`: an event's past is named by its maximal events, which are few.
pub const EVENT_LINKS: usize = 64;
/// Longest title of a proposal, in bytes: what one line of a terminal can show.
pub const TITLE_BYTES: usize = 200;
/// Longest free text (a reason, a comment), in bytes.
pub const TEXT_BYTES: usize = 4 * 1024;
/// Most root commits that a genesis names; histories with more are named by their first in order of id.
pub const ROOTS: usize = 16;
/// Most targets of one revocation: more are several.
pub const REVOKE_TARGETS: usize = 16;
/// Views of governance kept at once, besides that of now: one for each past that new events have, which are few.
pub const VIEWS: usize = 4_096;
/// Events of a feed kept past where it was cut off without anybody having built on them: honest peers send such only
/// right before what builds on them.
pub const EVIDENCE: u64 = 10_000;
/// Samples of a feed told together when two chains of it are compared: a million events are compared in four messages.
pub const CHAIN_SAMPLES: u64 = 64;
/// Tags that one event names: with names of usual length they fill it.
pub const TAGS: usize = 128;
/// Events between two stored states for `--at`: so many are folded at most, some 0.1 s of work, once those before were.
/// Fewer would write more pages for each event, as a page holds rows of many times.
pub const CHECKPOINT_EVENTS: u64 = 2_048;
/// Bytes of stored states, by those of the log: they hold the rows of the state once more, so they are of its size.
/// Beyond, what follows is folded each time.
pub const CHECKPOINTS_BY_LOG: u64 = 2;
/// Bytes of stored states in any case: a few of a small log.
pub const CHECKPOINTS_BYTES: u64 = 16 << 20;
/// How long the identity key is at hand after its passphrase was given: a command that approves may have to merge first, and
/// who types several commands is asked once.
pub const KEY_OPEN: Duration = Duration::from_secs(30);
/// Longest that it may be opened for: a working day.
pub const KEY_OPEN_MOST: Duration = Duration::from_secs(12 * 60 * 60);
/// Landings looked at together when commits are recomputed; the others follow.
pub const UNSETTLED: usize = 1_024;

/// Events that are appended together where thousands stream in: some 40 MiB of memory, twice while one append is under way.
pub const APPEND_EVENTS: usize = 16_384;
/// The same in bytes.
pub const APPEND_BYTES: usize = 8 << 20;
/// Longest that an event of such a stream waits before its append begins.
pub const APPEND_WITHIN: Duration = Duration::from_secs(2);

/// Largest frame on a control stream. Checked before memory is taken. A batch of events fits.
pub const FRAME_BYTES: usize = 256 * 1024;
/// Largest frame before a peer has proven to be a member: an ask to join is a few hundred bytes.
pub const STRANGER_FRAME_BYTES: usize = 4 * 1024;
/// Events sent in one frame.
pub const BATCH_BYTES: usize = 128 * 1024;
/// Feeds in one frontier frame: 32 + 10 + 8 bytes each stay below `FRAME_BYTES`. So many that are not known here are
/// remembered of one neighbour's frontier.
pub const FRONTIER_FEEDS: usize = 5_000;
/// Entries of one frontier in all: one that does not end is a mistake or mischief.
pub const FRONTIER_ENTRIES: usize = 20 * FRONTIER_FEEDS;

/// How far ahead of the own clock an event may be before it is held: clocks of machines without NTP drift
/// by seconds a day, and a wrong time zone is an hour off and should be seen.
pub const CLOCK_DRIFT: Duration = Duration::from_secs(10 * 60);
/// A node whose clock lies before this refuses to append: 2026-11-01T00:00:00Z, before the first release.
pub const BUILD_MILLIS: u64 = 1_793_491_200_000;

/// Least number of other members whose clocks outvote the own one: one other may itself be wrong.
pub const CLOCK_VOICES: usize = 2;
/// The wall clock has been set when it moved this much more or less than time passed; NTP slews by milliseconds.
pub const CLOCK_SET: Duration = Duration::from_secs(2);
/// A feed whose last event is further ahead than this is left behind for a new one: nobody waits longer for a mended clock.
pub const AHEAD_LEFT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the wall clock is looked at while it is wrong, so that writing goes on soon after it is set right.
pub const CLOCK_LOOK: Duration = Duration::from_secs(4);
/// Shortest wait before a neighbour is asked again for what is held: what comes is sent and checked anew each time.
pub const HELD_AGAIN_MIN: Duration = Duration::from_secs(30);
/// Longest wait: an event of the year 2100 sets no timer of 74 years, and costs its sender one frontier an hour.
pub const HELD_AGAIN_MAX: Duration = Duration::from_secs(60 * 60);
/// Events of one feed that become due in a day, and the most that do at once. The busiest people write some
/// hundred a day; a first `up` offers each branch of a repository, of which large ones have some hundred; a bot that
/// proposes every minute stays below. So a burst is a whole day's ration: whoever was quiet yesterday waits for nothing.
pub const INTAKE_EVENTS: u64 = 2_000;
/// Bytes of one feed in the same way: 4 KiB for each of these events, ten times what a proposal has.
pub const INTAKE_BYTES: u64 = 8 << 20;

/// Events of one member that become due in a day, all their feeds together: four machines may each write a feed's day. Whoever
/// opens more feeds, or writes other times into events, gets no more.
pub const MEMBER_EVENTS: u64 = 4 * INTAKE_EVENTS;
/// Bytes of one member in the same way.
pub const MEMBER_BYTES: u64 = 4 * INTAKE_BYTES;

/// Keep-alive on every connection.
pub const KEEP_ALIVE: Duration = Duration::from_millis(1_200);
/// A connection on which nothing is answered for this long is gone. The clock starts again at the first keep-alive
/// that is not answered (measured), so with `KEEP_ALIVE` a cut is seen within 5 s.
pub const IDLE_TIMEOUT: Duration = Duration::from_millis(3_500);
/// A handshake, and the hellos after it, take milliseconds on any path that is of use.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait between two dials of an address that does not answer.
pub const REDIAL_MAX: Duration = Duration::from_secs(60);
/// First wait before a peer that was lost is dialled again; doubles up to `REDIAL_MAX`.
pub const REDIAL_MIN: Duration = Duration::from_secs(1);
/// Sessions that one node keeps at once with clones of one member, who makes them at will: a small project of one person
/// is whole, and of the `MESH_MOST` that a node of a large one may have, others find six free.
pub const NEIGHBOURS_OF_ONE: usize = MESH_WHOLE;

/// Dials under way at once: each tries several addresses for some seconds, and a member may announce peers that are
/// nowhere.
pub const DIALS: usize = 32;
/// Peers that are known at once: four times what a project of 250 people with one clone each has.
pub const KNOWN_PEERS: usize = 1_024;
/// Of one member: twice the sessions that it can have at once. Clones that are gone stay known for a while.
pub const KNOWN_OF_ONE: usize = 32;
/// Of nobody whom the log names yet: announced by a member, whose clone is not told; or before the log is here.
pub const KNOWN_OF_NOBODY: usize = 256;
/// Addresses kept of one peer, the newest first.
pub const KNOWN_ADDRS: usize = 8;

/// Messages that wait for a neighbour to take them. What is long is sent only when what came before has left, so
/// that only one who reads nothing has this many; it is left then.
pub const OUTBOX: usize = 1_024;
/// Tips of one author whose objects are wanted at once: four full requests. One whose objects are nowhere holds up
/// nobody else's.
pub const WANTS_OF_ONE: usize = 4 * FETCH_TIPS;
/// Fetches that one neighbour is asked for at once: a small one need not wait behind a large one.
pub const FETCHES_OF_ONE: usize = 3;
/// Conflicts that are remembered: what is over is found out again when it is asked for.
pub const CONFLICTS: usize = 1_000;
/// Proposals whose lines are remembered: some 100 bytes each. What is over is counted again.
pub const LINES: usize = 4_096;
/// Notices that a view which opens later still sees, and texts that are remembered so as not to be said again at once.
pub const NOTICES_KEPT: usize = 50;
/// Of one member who comes and goes, and of what goes wrong again and again, so many lines are told in ...
pub const NOTICES_IN_PAUSE: usize = 2;
/// ... this time: one can read them, and who merely closes the lid is told of at once.
pub const NOTICE_PAUSE: Duration = Duration::from_secs(10);

/// Handshakes under way at most: each costs two signatures, and anybody can begin one.
pub const GATE: usize = 64;
/// Handshakes under way for which a dialler need not prove its address.
pub const GATE_FREE: usize = 16;
/// Handshakes under way from one address at most. A peer dials several of our addresses at once, and several
/// people may share one machine.
pub const GATE_OF_ONE: usize = 16;
/// Strangers at once: handshakes, and connections that are not admitted. Those who ask to join wait here.
pub const STRANGERS: usize = 64;
/// Streams that a peer may have open before it is admitted: its hello, and one that came too early.
pub const STRANGER_STREAMS: u32 = 2;
/// Bytes that a peer may have on their way to us before it is admitted.
pub const STRANGER_WINDOW: u32 = 64 * 1024;
/// Connections that wait to be accepted: the process takes them at once unless it is stopped.
pub const ACCEPT_QUEUE: usize = 64;
/// Streams that a peer may have open once it is admitted: a session and several fetches.
pub const STREAMS: u32 = 32;
/// Bytes that an admitted peer may have on their way to us, on all its streams: what 1 Gbit/s at 200 ms needs.
pub const WINDOW: u32 = 24 << 20;
/// Announced instances that are kept in mind at once. A network has fewer; more is somebody's mischief.
pub const INSTANCES: usize = 1_024;
/// Addresses of one peer that are taken from an announcement, or dialled: a machine with more has them by containers.
pub const ADDRESSES: usize = 16;

/// Hearings at once: each is a matter of moments, and whoever finds no place comes again within a minute.
pub const HEARINGS: usize = 4;
/// A hearing in which nothing came for this long is ended.
pub const HEARING_QUIET: Duration = Duration::from_secs(30);
/// Events that one who was removed can hand in, in a day, on all clones together: a busy week of a team. The rest
/// follows the next day.
pub const HEARING_EVENTS: usize = 1_000;
/// Those removed of whom is remembered what they may have, so that a log is not walked each time one comes.
pub const HEARINGS_KEPT: usize = 16;

/// Asks to join that wait at once: a maintainer can compare words with this many people.
pub const ASKS_PENDING: usize = 8;
/// Tickets for further machines that are good at once: each is used once and soon; of more the oldest goes.
pub const LINK_TICKETS: usize = 8;
/// Asks to join taken in a minute, from all addresses together: with 22 bits of words, a machine in the
/// middle that tries without pause needs half a year for an even chance of fooling one human once.
pub const ASKS_PER_MINUTE: usize = 6;
/// How long an ask waits for `members accept`.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// A branch has been quiet for this long before another node completes or joins its landings, so that the
/// node which caused it comes first.
pub const LANDING_QUIET: Duration = Duration::from_secs(2);
/// Nodes take turns in completing a landing, by rank, this far apart.
pub const LANDING_RANK_STEP: Duration = Duration::from_millis(500);

/// Streams that one node serves at once for packs, those not counted that are known to be heavy.
pub const SERVED_STREAMS: usize = 8;
/// Object streams that one node serves to one neighbour at once, so that one that does not read leaves room.
pub const SERVED_TO_ONE: usize = 5;
/// Streams that one node serves at once for media files, beside those for packs: these are of any size.
pub const MEDIA_STREAMS: usize = 4;
/// A pack of more bytes is heavy. So much of one is made, in memory, before it is decided how it is sent; a commit of a
/// day's work is smaller.
pub const SMALL_PACK: usize = 1 << 20;
/// Heavy packs that leave at once, each by itself: more would only make each slower.
pub const HEAVY_STREAMS: usize = 3;
/// Of these to one neighbour, so that one that does not read leaves room.
pub const HEAVY_TO_ONE: usize = 2;
/// Commits of which is remembered that a neighbour serves them, to tell who else has them: a full message.
pub const SERVED_TOLD: usize = FETCH_TIPS;
/// Others that are named to one who finds no room: any of them will do.
pub const BUSY_PEERS: usize = 16;
/// Packs that are made here for several at once: each takes its size on the disk for as long as it is asked for.
pub const SHARED_PACKS: usize = 2;
/// A heavy stream of which more has left is not ended in favour of a shared pack: what came would be sent twice.
pub const SHARED_INSTEAD: u64 = 32 << 20;
/// Bytes of a shared pack: it lies on the disks of all who take part once more while it travels.
pub const SHARED_BYTES: u64 = 8 << 30;
/// Pieces of a shared pack; so many bits are told each time that one comes.
pub const SHARED_PIECES: u32 = 1_024;
/// Bytes of a piece of a small pack: 20 ms at 100 Mbit/s, so that all have something to pass on soon.
pub const PIECE_BYTES: u64 = 256 << 10;
/// How long a shared pack may take to be made: those who want it are served in another way after that.
pub const SHARED_MADE: Duration = Duration::from_secs(10 * 60);
/// How long one waits for it before it is told to come again: less than `BODY_STALLED`, after which it would give up.
pub const SHARED_WAITED: Duration = Duration::from_secs(40);
/// Wants that are remembered because no shared pack of them could be made: more than are asked for in an hour.
pub const UNSHARED: usize = 16;
/// How long a shared pack that nobody asks for is kept: who was cut comes again within seconds.
pub const SHARED_KEPT: Duration = Duration::from_secs(30);
/// A shared pack of which nothing comes for so many milliseconds, from nobody, is given up; what came in order is kept.
pub const SHARED_STALLED: u64 = 20_000;
/// Shared packs that one node takes part in at once: more wait, or go by themselves.
pub const SHARED_TAKEN: usize = 4;
/// Pieces that one neighbour is asked for at once: the next is on its way when one has come.
pub const PIECES_OF_ONE: usize = 2;
/// Pieces of one pack that are asked for at once: each is held in memory until it is checked.
pub const PIECES_ASKED: usize = 12;
/// Pieces that one node sends at once, each from memory.
pub const PIECES_SENT: usize = 16;
/// Neighbours of whom one pack is asked at once, each for a portion: with more the receiver is what takes the time.
pub const SOURCES: usize = 4;
/// A pack is divided among several that have it only once it has come for so many milliseconds: then it is known how fast it comes.
pub const DIVIDE_AFTER: u64 = 1_000;
/// A pack that is all here in so many milliseconds is not divided: what came has to be looked at first, and the others have to find
/// out what they are to send.
pub const DIVIDE_LEFT: u64 = 4_000;
/// Bytes of it that must have come: of each part that is cut [`KEPT_BYTES`] may be of no use.
pub const DIVIDE_BYTES: u64 = 2 << 20;
/// A body of which nothing moves for this long is given up: repacking a large history takes seconds, and a stream
/// that lives and brings nothing would keep others from being asked.
pub const BODY_STALLED: Duration = Duration::from_secs(60);
/// How long one waits for an answer where whoever is asked makes a pack again first, up to these bytes, to go on with it: a slow disk gives
/// 50 MB a second.
pub fn made_again(bytes: u64) -> Duration {
    BODY_STALLED.saturating_add(Duration::from_secs(bytes / 50_000_000))
}
/// Most tips in one fetch, and haves.
pub const FETCH_TIPS: usize = 1_024;
/// About so many haves are sent with a fetch when there are more: 21 bytes each, for a commit that may be no larger.
pub const FETCH_HAVES: usize = 48;
/// Bytes of a pack that must have come whole before it is worth going on with them after a cut.
pub const KEPT_BYTES: u64 = 256 << 10;
/// How long what came before a cut is kept for the next start of the service: a holiday of who was in the middle of a clone.
/// Of one repository only that of one fetch is, which takes no more than its pack.
pub const KEPT_AGE: Duration = Duration::from_secs(14 * 24 * 3600);
/// Bytes that name what came before a cut, five for each object: what they cannot name is sent again. A server holds
/// several times as much for each stream that it serves.
pub const SKIP_BYTES: u32 = 8 << 20;
/// A pack may hold this many objects.
pub const PACK_OBJECTS: u32 = 50_000_000;
/// A pack may have this many bytes.
pub const PACK_BYTES: u64 = 64 << 30;
/// A chain of deltas in a pack may be this long: git's own limit when it writes packs.
pub const PACK_DEPTH: u32 = 4_095;
/// One object may inflate to this many bytes.
pub const OBJECT_BYTES: usize = 2 << 30;
/// Small packs that are left as they are. Git looks into each one for an object that is in none; its own limit is 50.
pub const PACKS_LEFT: usize = 16;
/// Packs that arrived are counted this much later: more may follow, and nobody waits for it.
pub const HOUSEKEEPING_AFTER: Duration = Duration::from_secs(5);
/// Packs that were read stay mapped for this long after objects last moved: what is asked for again is asked for soon.
pub const PACKS_OPEN: Duration = Duration::from_secs(20);
/// While git keeps house itself it is asked this often whether it has done.
pub const HOUSEKEEPING_AGAIN: Duration = Duration::from_secs(60);
/// A pack of more bytes is no small one: copying it would hold up the disk.
pub const CONSOLIDATED_PACK: u64 = 32 << 20;
/// Bytes that are copied at once when packs become one.
pub const CONSOLIDATED_BYTES: u64 = 128 << 20;
/// A media file of Git LFS may have this many bytes: as a whole pack.
pub const MEDIA_BYTES: u64 = PACK_BYTES;
/// Media files in one request: a request of such ids is a few KiB.
pub const MEDIA_FILES: usize = 256;
/// Bytes of media files asked for together; a larger one goes alone. A stream that is cut costs no more than one file.
pub const MEDIA_TOGETHER: u64 = 64 << 20;
/// Requests for media that one neighbour is asked at once: less than [`FETCHES_OF_ONE`] leaves room for commits.
pub const MEDIA_OF_ONE: usize = 2;
/// Media files wanted at once; what is over is wanted when some of these have come.
pub const MEDIA_WANTED: usize = 100_000;
/// How long half a media file is kept to be gone on with.
pub const MEDIA_HALF: Duration = Duration::from_secs(24 * 60 * 60);
/// Trees whose media are remembered, so that the next commit costs only what it changed.
pub const MEDIA_TREES: usize = 200_000;
/// Bytes of a blob that the frozen line merge takes: larger ones merge only as wholes. Part of `rules` 1.
pub const MERGE_BLOB_BYTES: usize = 8 << 20;
/// Lines of a blob that the frozen line merge takes. Part of `rules` 1.
pub const MERGE_BLOB_LINES: usize = 200_000;

/// A debounce after the first sign of a moved ref: git writes a ref in several steps.
pub const WATCH_DEBOUNCE: Duration = Duration::from_millis(3);
/// A slow look at all refs, since file system events do get lost.
pub const WATCH_LOOK: Duration = Duration::from_secs(30);
/// The same while a local branch could not follow: that a work tree is clean again moves no ref.
pub const BEHIND_LOOK: Duration = Duration::from_secs(4);

/// Projects of at most this many other peers are connected each with each: the shortest way for every event.
pub const MESH_WHOLE: usize = 10;
/// Sessions that a node of a larger project sees to: a random graph of this degree hangs together, also where half
/// of it goes.
pub const MESH_WANTED: usize = 8;
/// With more sessions than this a node lets some go: each costs a copy of what is announced.
pub const MESH_HIGH: usize = 12;
/// With this many no further peer is let in; it finds another.
pub const MESH_MOST: usize = 16;
/// How often a node dials a peer that chance picks although it has enough sessions: groups that were apart find each
/// other within this time, and a session costs a handshake and a list of what is served.
pub const MESH_TURN: Duration = Duration::from_secs(120);

/// With at most this many neighbours each is sent every event at once; with more, those that get it from others too
/// are only told of it.
pub const SEND_AT_ONCE: usize = 4;
/// How long a neighbour that gets its events from others has for it, before it is sent what it lacks.
pub const SEND_LATER: Duration = Duration::from_millis(400);
/// The neighbours of one peer begin to send it the same thing this far apart, in sixteen steps.
pub const SEND_STEP: Duration = Duration::from_millis(60);
/// Whoever gets something, but not all, from others is sent the rest after this long.
pub const SEND_LATEST: Duration = Duration::from_secs(3);

/// How long until what a neighbour lacks is read again where the disk failed to give it: often enough for one that was
/// full or busy, seldom enough for one that is damaged.
pub const LOAD_AGAIN: Duration = Duration::from_secs(10);
/// How long until a neighbour is asked again for what rests on an event whose time has just come.
pub const ASK_SOON: Duration = Duration::from_secs(1);
