CREATE TYPE mood AS ENUM ('sad', 'calm', 'glad');
CREATE TYPE spot AS (x int, y int);
CREATE DOMAIN small AS int CHECK (VALUE < 100000);
CREATE TABLE dept (id int PRIMARY KEY, name text NOT NULL, city text, budget bigint);
CREATE TABLE emp (
    id int PRIMARY KEY, dept int, boss int, name text, salary numeric(10,2), hired date, active boolean, feels mood);
CREATE TABLE item (id int PRIMARY KEY, kind text, price numeric(10,2) NOT NULL, tags text[], attrs jsonb, span int4range);
CREATE TABLE sale (emp int, item int, qty int, at timestamp, note text);
CREATE TABLE a (x int, y int, z text);
CREATE TABLE b (x int, y int, w numeric(10,2));
CREATE TABLE c (k text, x int, v bigint, size small, place spot, PRIMARY KEY (k, x));
CREATE TABLE tree (id int PRIMARY KEY, parent int, label text, weight int);

INSERT INTO dept
SELECT n, 'dept ' || n % 5, CASE WHEN n % 4 > 0 THEN (ARRAY['Rome', 'Oslo', 'Lima'])[1 + n % 3] END,
       CASE WHEN n % 3 > 0 THEN n * 1000 END
FROM generate_series(1, 8) AS n;
INSERT INTO emp
SELECT n, CASE WHEN n % 7 > 0 THEN 1 + n % 9 END, CASE WHEN n % 5 > 0 THEN 1 + n / 4 END,
       CASE WHEN n % 11 > 0 THEN 'name ' || n % 12 END, CASE WHEN n % 6 > 0 THEN 100 + n % 8 * 12.25 END,
       date '2020-01-01' + n % 10 * 40, CASE WHEN n % 4 > 0 THEN n % 3 = 0 END,
       CASE WHEN n % 5 > 0 THEN (enum_range(NULL::mood))[1 + n % 3] END
FROM generate_series(1, 40) AS n;
INSERT INTO item
SELECT n, CASE WHEN n % 6 > 0 THEN (ARRAY['tool', 'toy', 'food'])[1 + n % 3] END, n % 7 * 2.5,
       CASE WHEN n % 5 > 0 THEN (ARRAY[ARRAY['red', 'new'], ARRAY['old', 'red'], ARRAY['big', NULL]])[1 + n % 3:1 + n % 3] END,
       CASE WHEN n % 4 > 0 THEN jsonb_build_object('size', n % 4, 'name', 'i' || n % 3, 'list', jsonb_build_array(n % 2, n % 3)) END,
       CASE WHEN n % 3 > 0 THEN int4range(n, n + 5) END
FROM generate_series(1, 15) AS n;
INSERT INTO sale
SELECT CASE WHEN n % 13 > 0 THEN 1 + n * 7 % 45 END, CASE WHEN n % 17 > 0 THEN 1 + n * 5 % 18 END,
       CASE WHEN n % 9 > 0 THEN n % 6 END, timestamp '2024-01-01' + n % 20 * interval '7 hours',
       CASE WHEN n % 3 > 0 THEN 'note ' || n % 4 END
FROM generate_series(1, 90) AS n;
INSERT INTO a
SELECT CASE WHEN n % 6 > 0 THEN n % 8 END, CASE WHEN n % 5 > 0 THEN n % 4 END, CASE WHEN n % 7 > 0 THEN chr(97 + n % 5) END
FROM generate_series(1, 30) AS n;
INSERT INTO b
SELECT CASE WHEN n % 5 > 0 THEN n % 9 END, CASE WHEN n % 4 > 0 THEN n % 5 END, CASE WHEN n % 6 > 0 THEN n % 7 * 1.25 END
FROM generate_series(1, 30) AS n;
INSERT INTO b SELECT * FROM b WHERE x < 3;
INSERT INTO c SELECT chr(97 + n % 6), n, n % 5 * 100, n % 7, ROW(n % 3, n % 2)::spot FROM generate_series(1, 25) AS n;
INSERT INTO tree SELECT n, CASE WHEN n > 3 THEN n / 3 END, 'node ' || n % 6, n % 10 FROM generate_series(1, 30) AS n;
ANALYZE;
