-- Version 1. Names are bytes: no collation may merge two of them.
-- Numbers called beat_at, since, ttl and ttd are microseconds.
CREATE TABLE IF NOT EXISTS portolan_clock (
    one     INT PRIMARY KEY,
    -- Grows when the clock jumps; leases of an older term count from `since`.
    term    BIGINT NOT NULL,
    since   BIGINT NOT NULL,
    boot    VARCHAR(64) NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE IF NOT EXISTS portolan_namespaces (
    id        BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name      VARBINARY(255) NOT NULL UNIQUE,
    era       BIGINT NOT NULL,
    -- The revision number of the last committed write.
    number    BIGINT NOT NULL,
    -- The position of the next entry in portolan_changes.
    position  BIGINT NOT NULL,
    -- How many events all entries held together, ever.
    events    BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE IF NOT EXISTS portolan_services (
    ns      BIGINT NOT NULL,
    name    VARBINARY(255) NOT NULL,
    owner   VARBINARY(255) NOT NULL,
    format  BIGINT NOT NULL,
    record  LONGTEXT NOT NULL,
    PRIMARY KEY (ns, name),
    KEY portolan_services_owner (ns, owner)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE IF NOT EXISTS portolan_instances (
    ns      BIGINT NOT NULL,
    id      VARBINARY(255) NOT NULL,
    format  BIGINT NOT NULL,
    record  LONGTEXT NOT NULL,
    PRIMARY KEY (ns, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE IF NOT EXISTS portolan_offers (
    ns       BIGINT NOT NULL,
    service  VARBINARY(255) NOT NULL,
    id       VARBINARY(255) NOT NULL,
    PRIMARY KEY (ns, service, id),
    KEY portolan_offers_id (ns, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE IF NOT EXISTS portolan_leases (
    -- A number of one connect: what a beat names instead of id and epoch.
    slot     BIGINT NOT NULL PRIMARY KEY,
    ns       BIGINT NOT NULL,
    id       VARBINARY(255) NOT NULL,
    epoch    BIGINT NOT NULL,
    ttl      BIGINT NOT NULL,
    ttd      BIGINT NOT NULL,
    beat_at  BIGINT NOT NULL,
    term     BIGINT NOT NULL,
    -- What watchers were told last: 0 online, 1 offline.
    told     BIGINT NOT NULL,
    UNIQUE KEY portolan_leases_id (ns, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE IF NOT EXISTS portolan_changes (
    ns        BIGINT NOT NULL,
    position  BIGINT NOT NULL,
    -- A long entry stands in several rows.
    place     BIGINT NOT NULL,
    number    BIGINT NOT NULL,
    -- portolan_namespaces.events after this entry.
    events    BIGINT NOT NULL,
    format    BIGINT NOT NULL,
    entries   LONGTEXT NOT NULL,
    PRIMARY KEY (ns, position, place)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
INSERT IGNORE INTO portolan_clock (one, term, since, boot) VALUES (1, 1, 0, '');
