-- Version 1. Numbers called beat_at, since, ttl and ttd are microseconds.
CREATE TABLE portolan_clock (
    one     INT PRIMARY KEY CHECK (one = 1),
    -- Grows when the clock jumps; leases of an older term count from `since`.
    term    BIGINT NOT NULL,
    since   BIGINT NOT NULL,
    boot    TEXT NOT NULL
);
CREATE TABLE portolan_namespaces (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      TEXT COLLATE "C" NOT NULL UNIQUE,
    era       BIGINT NOT NULL,
    -- The revision number of the last committed write.
    number    BIGINT NOT NULL,
    -- The position of the next entry in portolan_changes.
    position  BIGINT NOT NULL,
    -- How many events all entries held together, ever.
    events    BIGINT NOT NULL
);
CREATE TABLE portolan_services (
    ns      BIGINT NOT NULL,
    name    TEXT COLLATE "C" NOT NULL,
    owner   TEXT COLLATE "C" NOT NULL,
    format  BIGINT NOT NULL,
    record  TEXT NOT NULL,
    PRIMARY KEY (ns, name)
);
CREATE INDEX portolan_services_owner ON portolan_services (ns, owner);
CREATE TABLE portolan_instances (
    ns      BIGINT NOT NULL,
    id      TEXT COLLATE "C" NOT NULL,
    format  BIGINT NOT NULL,
    record  TEXT NOT NULL,
    PRIMARY KEY (ns, id)
);
CREATE TABLE portolan_offers (
    ns       BIGINT NOT NULL,
    service  TEXT COLLATE "C" NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, service, id)
);
CREATE INDEX portolan_offers_id ON portolan_offers (ns, id);
-- Half of each page is left free and no index holds what a beat changes, so a
-- beat is a heap-only update that needs no vacuum.
CREATE TABLE portolan_leases (
    -- A number of one connect: what a beat names instead of id and epoch.
    slot     BIGINT PRIMARY KEY,
    ns       BIGINT NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    epoch    BIGINT NOT NULL,
    ttl      BIGINT NOT NULL,
    ttd      BIGINT NOT NULL,
    beat_at  BIGINT NOT NULL,
    term     BIGINT NOT NULL,
    -- What watchers were told last: 0 online, 1 offline.
    told     BIGINT NOT NULL,
    UNIQUE (ns, id)
) WITH (fillfactor = 50);
CREATE TABLE portolan_changes (
    ns        BIGINT NOT NULL,
    position  BIGINT NOT NULL,
    -- A long entry stands in several rows.
    place     BIGINT NOT NULL,
    number    BIGINT NOT NULL,
    -- portolan_namespaces.events after this entry.
    events    BIGINT NOT NULL,
    format    BIGINT NOT NULL,
    entries   TEXT NOT NULL,
    PRIMARY KEY (ns, position, place)
);
INSERT INTO portolan_clock (one, term, since, boot) VALUES (1, 1, 0, '');
