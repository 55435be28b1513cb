//! Every statement, in the words of `statement.rs`.
//!
//! `docs/backend-sql.md` says which isolation each of them needs.

/// The judging clock.
macro_rules! clock {
    () => {
        "(SELECT term, since, {now} AS now FROM portolan_clock) c"
    };
}

/// When lease `l` was last renewed, by clock `c`: a beat from before the clock
/// jumped counts from the jump.
macro_rules! renewed {
    () => {
        "(CASE WHEN l.term = c.term THEN l.beat_at ELSE c.since END)"
    };
}

/// What clock `c` says of lease `l`: 0 online, 1 offline, 2 gone. No sum of what a
/// foreign hand wrote can overflow.
macro_rules! state {
    () => {
        concat!(
            "(CASE WHEN l.beat_at < 0 THEN 2 WHEN c.now - ",
            renewed!(),
            " < l.ttl THEN 0 WHEN c.now - ",
            renewed!(),
            " < l.ttd THEN 1 ELSE 2 END)"
        )
    };
}

// Namespaces and the clock.

pub(crate) const ADD_NAMESPACE: &str =
    "INSERT INTO portolan_namespaces (name, era, number, position, events)
     SELECT $1, {int $2}, 0, 0, 0 FROM portolan_clock
     WHERE NOT EXISTS (SELECT 1 FROM portolan_namespaces WHERE name = $1)";
pub(crate) const FIND_NAMESPACE: &str = "SELECT id FROM portolan_namespaces WHERE name = $1";
/// The clock jumped: nobody's lease ends before a full ttl from now.
pub(crate) const JUMPED: &str =
    "UPDATE portolan_clock SET term = term + 1, since = {now} WHERE term = $1";
/// The machine was started anew, and its clock with it.
pub(crate) const BOOTED: &str =
    "UPDATE portolan_clock SET term = term + 1, since = {now}, boot = $1
     WHERE boot <> $1 OR since > {now}";
/// The history went back: it is another one now.
pub(crate) const NEW_ERA: &str =
    "UPDATE portolan_namespaces SET era = $1 WHERE id = $2 AND era = $3 AND position < $4";

// What a write reads first.

/// Takes the turn to write: until the end of the transaction nobody else has a
/// revision to give away.
pub(crate) const TURN: &str = "SELECT n.era, n.number, n.position, n.events,
         (SELECT term FROM portolan_clock), (SELECT since FROM portolan_clock), {now}
     FROM portolan_namespaces n WHERE n.id = $1{lock}";
/// Judges leases by a moment that was read before, and keeps beats out.
pub(crate) const LOCK_LEASES: &str = concat!(
    "SELECT l.id, l.epoch, l.told, ",
    state!(),
    ", l.slot FROM portolan_leases l,
         (SELECT {int $3} AS term, {int $4} AS since, {int $5} AS now) c
     WHERE l.ns = $1 AND l.id {among $2}{lock}"
);
pub(crate) const LOAD_INSTANCES: &str =
    "SELECT id, format, record FROM portolan_instances WHERE ns = $1 AND id {among $2}";
pub(crate) const LOAD_SERVICES: &str = "SELECT name, format, record FROM portolan_services
     WHERE ns = $1 AND (name {among $2} OR owner {among $3})";

// What a write writes.

pub(crate) const DELETE_INSTANCES: &str =
    "DELETE FROM portolan_instances WHERE ns = $1 AND id {among $2}";
pub(crate) const DELETE_OFFERS: &str =
    "DELETE FROM portolan_offers WHERE ns = $1 AND id {among $2}";
pub(crate) const DELETE_LEASES: &str =
    "DELETE FROM portolan_leases WHERE ns = $1 AND id {among $2}";
pub(crate) const DELETE_SERVICES: &str =
    "DELETE FROM portolan_services WHERE ns = $1 AND name {among $2}";
pub(crate) const INSERT_INSTANCES: &str = "INSERT INTO portolan_instances (ns, id, format, record)
     SELECT {int $1}, r.id, 1, r.record FROM {rows $2 id name, record text} r";
pub(crate) const INSERT_OFFERS: &str = "INSERT INTO portolan_offers (ns, service, id)
     SELECT {int $1}, r.service, r.id FROM {rows $2 service name, id name} r";
pub(crate) const INSERT_LEASES: &str =
    "INSERT INTO portolan_leases (slot, ns, id, epoch, ttl, ttd, beat_at, term, told)
     SELECT r.slot, {int $1}, r.id, r.epoch, r.ttl, r.ttd, {now}, {int $3}, 0
     FROM {rows $2 slot int, id name, epoch int, ttl int, ttd int} r";
/// A lease that goes on: the row stays, for beats that wait for it.
pub(crate) const RENEW_LEASES: &str = "UPDATE portolan_leases
     SET beat_at = {now}, term = $1, told = 0 WHERE slot {among $2}";
pub(crate) const INSERT_SERVICES: &str =
    "INSERT INTO portolan_services (ns, name, owner, format, record)
     SELECT {int $1}, r.name, r.owner, 1, r.record
     FROM {rows $2 name name, owner name, record text} r";
pub(crate) const TELL: &str =
    "UPDATE portolan_leases SET told = $3 WHERE ns = $1 AND id {among $2}";
pub(crate) const INSERT_CHANGES: &str =
    "INSERT INTO portolan_changes (ns, position, place, number, events, format, entries)
     SELECT {int $1}, r.position, r.place, r.number, r.events, 1, r.entries
     FROM {rows $2 position int, place int, number int, events int, entries text} r";
pub(crate) const ADVANCE: &str =
    "UPDATE portolan_namespaces SET number = $1, position = $2, events = $3 WHERE id = $4";
pub(crate) const COMPACT: &str = "DELETE FROM portolan_changes WHERE ns = $1 AND events <= $2";
/// Rows of a foreign hand where the next entries belong.
pub(crate) const CLEAR: &str = "DELETE FROM portolan_changes WHERE ns = $1 AND position >=
     (SELECT position FROM portolan_namespaces WHERE id = $1)";
pub(crate) const NOTIFY: &str = "SELECT pg_notify($1, $2)";

// Beats. $1 are the slots of leases, in their order, so that two who beat for
// the same ones wait for each other and never in a circle; $2 is how bad a lease
// may be to be renewed: 0 online, 1 offline.

pub(crate) const BEAT: &str = concat!(
    "UPDATE portolan_leases AS l SET beat_at = c.now, term = c.term FROM ",
    clock!(),
    " WHERE l.slot {among $1} AND ",
    state!(),
    " <= $2"
);
/// The same for SQLite and MySQL, which write a table of what they join.
pub(crate) const BEAT_ALONE: &str =
    "UPDATE portolan_leases SET beat_at = {now}, term = (SELECT term FROM portolan_clock)
     WHERE slot {among $1} AND (CASE WHEN beat_at < 0 THEN 2
         WHEN {now} - (CASE WHEN term = (SELECT term FROM portolan_clock) THEN beat_at
             ELSE (SELECT since FROM portolan_clock) END) < ttl THEN 0
         WHEN {now} - (CASE WHEN term = (SELECT term FROM portolan_clock) THEN beat_at
             ELSE (SELECT since FROM portolan_clock) END) < ttd THEN 1
         ELSE 2 END) <= $2";
pub(crate) const JUDGE: &str = concat!(
    "SELECT l.id, l.epoch, ",
    state!(),
    ", c.now, c.term, l.slot FROM portolan_leases l, ",
    clock!(),
    " WHERE l.ns = $1 AND l.id {among $2}"
);

// Reads. One statement is one snapshot. The kind of a row is in its first
// column: 0 the head, 1 a declaration, 2 an instance.

macro_rules! head {
    () => {
        concat!(
            "SELECT 0 AS kind, '' AS name, 0 AS format, '' AS record,
                 n.era AS a, n.number AS b, n.position AS c, c.now AS d, c.term AS e
             FROM portolan_namespaces n, ",
            clock!(),
            " WHERE n.id = $1"
        )
    };
}

macro_rules! services {
    ($condition:literal) => {
        concat!(
            " UNION ALL SELECT 1, s.name, s.format, s.record, 0, 0, 0, 0, 0
             FROM portolan_services s WHERE s.ns = $1",
            $condition
        )
    };
}

macro_rules! instances {
    ($condition:literal) => {
        concat!(
            " UNION ALL SELECT 2, i.id, i.format, i.record, l.epoch, ",
            state!(),
            ", l.told, 0, 0 FROM portolan_leases l
             JOIN portolan_instances i ON i.ns = l.ns AND i.id = l.id, ",
            clock!(),
            " WHERE l.ns = $1",
            $condition
        )
    };
}

pub(crate) const READ_ALL: &str = concat!(head!(), services!(""), instances!(""));
pub(crate) const READ_DECLARATIONS: &str = concat!(head!(), services!(""));
pub(crate) const READ_INSTANCE: &str = concat!(head!(), instances!(" AND l.id = $2"));
pub(crate) const READ_SERVICES: &str = concat!(
    head!(),
    services!(" AND s.name {among $2}"),
    instances!(
        " AND l.id IN (SELECT o.id FROM portolan_offers o
              WHERE o.ns = $1 AND o.service {among $2})"
    )
);

// The history. There is always a row, for the head.

pub(crate) const FEED: &str = "SELECT n.era, n.number, n.position,
         h.position, h.number, h.format, h.entries
     FROM portolan_namespaces n LEFT JOIN portolan_changes h
         ON h.ns = $1 AND h.position >= $2 AND h.position < $3
     WHERE n.id = $1 ORDER BY h.position, h.place";
/// Entries before a position, within the events that are kept.
pub(crate) const PAST: &str = "SELECT h.position, h.number, h.format, h.entries
     FROM portolan_changes h JOIN portolan_namespaces n ON n.id = h.ns
     WHERE h.ns = $1 AND h.number >= $2 AND h.position < $3 AND h.events > n.events - $4
     ORDER BY h.position, h.place";
pub(crate) const POSITION: &str = "SELECT position, era FROM portolan_namespaces WHERE id = $1";

// Sweeping.

/// Who is not what watchers were told, and when somebody may be so next.
pub(crate) const LOOK: &str = concat!(
    "SELECT 0 AS kind, '' AS id, c.now AS a, c.term AS b, COALESCE((SELECT MIN(",
    renewed!(),
    " + CASE l.told WHEN 0 THEN l.ttl ELSE l.ttd END)
         FROM portolan_leases l WHERE l.ns = $1 AND l.ttd < 10000000000000
             AND l.ttl < 10000000000000 AND l.beat_at BETWEEN 0 AND 4000000000000000000),
         -1) AS c FROM ",
    clock!(),
    " UNION ALL SELECT * FROM (SELECT 1, l.id, 0 AS x, 0 AS y, 0 AS z FROM portolan_leases l, ",
    clock!(),
    " WHERE l.ns = $1 AND ",
    state!(),
    " <> l.told LIMIT 5000) late"
);
