-- Version 1. Numbers called beat_at, since, ttl and ttd are microseconds.
CREATE TABLE portolan_clock (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    -- Grows when the clock jumps; leases of an older term count from `since`.
    term    INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    boot    TEXT NOT NULL
);
CREATE TABLE portolan_namespaces (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    era       INTEGER NOT NULL,
    -- The revision number of the last committed write.
    number    INTEGER NOT NULL,
    -- The position of the next entry in portolan_changes.
    position  INTEGER NOT NULL,
    -- How many events all entries held together, ever.
    events    INTEGER NOT NULL
);
CREATE TABLE portolan_services (
    ns      INTEGER NOT NULL,
    name    TEXT NOT NULL,
    owner   TEXT NOT NULL,
    format  INTEGER NOT NULL,
    record  TEXT NOT NULL,
    PRIMARY KEY (ns, name)
) WITHOUT ROWID;
CREATE INDEX portolan_services_owner ON portolan_services (ns, owner);
CREATE TABLE portolan_instances (
    ns      INTEGER NOT NULL,
    id      TEXT NOT NULL,
    format  INTEGER NOT NULL,
    record  TEXT NOT NULL,
    PRIMARY KEY (ns, id)
) WITHOUT ROWID;
CREATE TABLE portolan_offers (
    ns       INTEGER NOT NULL,
    service  TEXT NOT NULL,
    id       TEXT NOT NULL,
    PRIMARY KEY (ns, service, id)
) WITHOUT ROWID;
CREATE INDEX portolan_offers_id ON portolan_offers (ns, id);
CREATE TABLE portolan_leases (
    -- A number of one connect: what a beat names instead of id and epoch.
    slot     INTEGER PRIMARY KEY,
    ns       INTEGER NOT NULL,
    id       TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    ttl      INTEGER NOT NULL,
    ttd      INTEGER NOT NULL,
    beat_at  INTEGER NOT NULL,
    term     INTEGER NOT NULL,
    -- What watchers were told last: 0 online, 1 offline.
    told     INTEGER NOT NULL,
    UNIQUE (ns, id)
);
CREATE TABLE portolan_changes (
    ns        INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    -- A long entry stands in several rows.
    place     INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    -- portolan_namespaces.events after this entry.
    events    INTEGER NOT NULL,
    format    INTEGER NOT NULL,
    entries   TEXT NOT NULL,
    PRIMARY KEY (ns, position, place)
) WITHOUT ROWID;
INSERT INTO portolan_clock (one, term, since, boot) VALUES (1, 1, 0, '');
