-- H(username:realm:password) by SHA-512/256 (RFC 7616). NULL for subscribers made before: the password it would be made of is
-- not kept, so they have to be made again to use it.
ALTER TABLE subscribers ADD COLUMN ha1_sha512_256 TEXT;
