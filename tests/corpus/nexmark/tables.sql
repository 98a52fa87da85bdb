CREATE TABLE person (
    id bigint PRIMARY KEY, name text NOT NULL, email text, city text NOT NULL, state text NOT NULL,
    date_time timestamp NOT NULL);
CREATE TABLE auction (
    id bigint PRIMARY KEY, item text NOT NULL, initial bigint NOT NULL, reserve bigint, date_time timestamp NOT NULL,
    expires timestamp NOT NULL, seller bigint NOT NULL, category bigint NOT NULL);
CREATE TABLE bid (
    id bigint PRIMARY KEY, auction bigint NOT NULL, bidder bigint NOT NULL, price bigint NOT NULL, channel text,
    url text, date_time timestamp NOT NULL);

INSERT INTO person
SELECT n, 'name ' || n % 40, 'p' || n || '@example.com', (ARRAY['Portland', 'Boise', 'Phoenix', 'Kent'])[1 + n % 4],
       (ARRAY['OR', 'ID', 'CA', 'AZ', 'WA'])[1 + n % 5], timestamp '2024-01-01' + n * interval '3 minutes'
FROM generate_series(1, 150) AS n;
INSERT INTO auction
SELECT 1000 + n, 'item ' || n % 60, n * 7 % 100, CASE WHEN n % 5 > 0 THEN n * 11 % 200 END,
       timestamp '2024-01-01' + n * interval '2 minutes', timestamp '2024-01-01' + (n + 90) * interval '2 minutes',
       1 + n * 13 % 150, 10 + n % 5
FROM generate_series(1, 300) AS n;
INSERT INTO bid
SELECT n, 1001 + n * 17 % 300, 1 + n * 31 % 150, 100 + n * n % 900, (ARRAY['Google', 'Apple', NULL])[1 + n % 3],
       'https://www.example.com/' || n % 7 || '/item/' || n % 11, timestamp '2024-01-01' + n * interval '20 seconds'
FROM generate_series(1, 2000) AS n;
