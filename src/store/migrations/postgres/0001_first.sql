-- As migrations/sqlite leaves its tables: the same names and meanings, so that one set of statements serves both.
-- Times are microseconds since 1970 UTC, except `created_at`, which is seconds and for the operator's eye only.

CREATE TABLE cdrs (
    call           TEXT PRIMARY KEY NOT NULL,
    owner          TEXT NOT NULL DEFAULT 'default',
    kind           TEXT NOT NULL,
    from_party     TEXT NOT NULL,
    to_party       TEXT NOT NULL,
    started_at_us  BIGINT NOT NULL,
    answered_at_us BIGINT,
    ended_at_us    BIGINT NOT NULL,
    cause          TEXT NOT NULL, -- JSON: status, q850, blame, reason
    legs           TEXT NOT NULL  -- JSON: an array, in order of appearance
);

CREATE INDEX cdrs_by_end ON cdrs (ended_at_us DESC);

CREATE TABLE bindings (
    subscriber    TEXT NOT NULL,
    position      BIGINT NOT NULL, -- in order of registration
    expires_at_us BIGINT NOT NULL,
    binding       TEXT NOT NULL,   -- JSON
    PRIMARY KEY (subscriber, position)
);

-- A password is never kept: only H(username:realm:password), in lower-case hexadecimal (RFC 7616 §3.4.2).
CREATE TABLE subscribers (
    owner          TEXT NOT NULL DEFAULT 'default',
    subscriber     TEXT NOT NULL,
    realm          TEXT NOT NULL,
    ha1_md5        TEXT NOT NULL,
    ha1_sha256     TEXT NOT NULL,
    ha1_sha512_256 TEXT,
    created_at     BIGINT NOT NULL DEFAULT (extract(epoch FROM now())::BIGINT),
    PRIMARY KEY (owner, subscriber, realm)
);

-- A key is never kept: only its SHA-256, in lower-case hexadecimal. The key is 256 random bits, so it needs no salt.
CREATE TABLE api_keys (
    sha256     TEXT PRIMARY KEY NOT NULL,
    owner      TEXT NOT NULL DEFAULT 'default',
    label      TEXT NOT NULL,
    created_at BIGINT NOT NULL DEFAULT (extract(epoch FROM now())::BIGINT)
);

CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);
