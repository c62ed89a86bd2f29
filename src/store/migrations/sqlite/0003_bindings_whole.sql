-- A binding as one JSON value: nothing asks for its parts, and what it has grows with the registrar's extensions.

CREATE TABLE bindings_whole (
    subscriber    TEXT NOT NULL,
    position      INTEGER NOT NULL, -- in order of registration
    expires_at_us INTEGER NOT NULL,
    binding       TEXT NOT NULL,    -- JSON
    PRIMARY KEY (subscriber, position)
) STRICT;

INSERT INTO bindings_whole (subscriber, position, expires_at_us, binding)
SELECT
    subscriber,
    row_number() OVER (PARTITION BY subscriber ORDER BY rowid),
    expires_at_us,
    json_object(
        'subscriber', subscriber,
        'contact', json(contact),
        'expires_at', json_object('secs_since_epoch', expires_at_us / 1000000, 'nanos_since_epoch', expires_at_us % 1000000 * 1000),
        'q', q,
        'call_id', call_id,
        'cseq', cseq,
        'user_agent', user_agent
    )
FROM bindings;

DROP TABLE bindings;

ALTER TABLE bindings_whole RENAME TO bindings;
