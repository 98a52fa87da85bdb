-- Nexmark: people who sell and bid at auctions. The queries of the suite, said over tables instead of streams:
-- a window of event time is a group of the hour, an upsert is the newest row.

-- q0
SELECT auction, bidder, price, channel, url, date_time FROM bid

-- q1
SELECT auction, bidder, 0.908 * price AS price, date_time FROM bid

-- q2
SELECT auction, price FROM bid WHERE auction % 123 = 0 OR auction IN (1007, 1020, 1001, 1019, 1087)

-- q3
SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')

-- q4
SELECT category, avg(final) AS average
FROM (SELECT a.id, a.category, max(b.price) AS final FROM auction a JOIN bid b ON a.id = b.auction
      WHERE b.date_time BETWEEN a.date_time AND a.expires GROUP BY a.id, a.category) AS q
GROUP BY category

-- q4_winner
SELECT a.id, w.bidder, w.price
FROM auction a CROSS JOIN LATERAL (
    SELECT b.bidder, b.price FROM bid b
    WHERE b.auction = a.id AND b.date_time BETWEEN a.date_time AND a.expires
    ORDER BY b.price DESC, b.date_time, b.id LIMIT 1) AS w

-- q5
SELECT auction, hour, num
FROM (SELECT auction, date_trunc('hour', date_time) AS hour, count(*) AS num FROM bid GROUP BY 1, 2) AS counts
WHERE num >= ALL (SELECT count(*) FROM bid b WHERE date_trunc('hour', b.date_time) = counts.hour GROUP BY b.auction)

-- q5_rank
SELECT auction, hour, num
FROM (SELECT auction, hour, num, rank() OVER (PARTITION BY hour ORDER BY num DESC) AS r
      FROM (SELECT auction, date_trunc('hour', date_time) AS hour, count(*) AS num FROM bid GROUP BY 1, 2) AS c) AS q
WHERE r = 1

-- q6
SELECT seller, avg(final) OVER (PARTITION BY seller ORDER BY ended, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS average
FROM (SELECT DISTINCT ON (a.id) a.id, a.seller, b.price AS final, b.date_time AS ended
      FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
      ORDER BY a.id, b.price DESC, b.date_time, b.id) AS q

-- q7
SELECT b.auction, b.price, b.bidder, b.date_time
FROM bid b JOIN (SELECT date_trunc('hour', date_time) AS hour, max(price) AS price FROM bid GROUP BY 1) AS m
  ON b.price = m.price AND date_trunc('hour', b.date_time) = m.hour

-- q8
SELECT p.id, p.name, p.hour
FROM (SELECT id, name, date_trunc('hour', date_time) AS hour FROM person GROUP BY 1, 2, 3) AS p
JOIN (SELECT seller, date_trunc('hour', date_time) AS hour FROM auction GROUP BY 1, 2) AS a
  ON p.id = a.seller AND p.hour = a.hour

-- q9
SELECT id, item, seller, category, bidder, price, bid_time
FROM (SELECT a.id, a.item, a.seller, a.category, b.bidder, b.price, b.date_time AS bid_time,
             row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.id) AS n
      FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) AS q
WHERE n <= 1

-- q15
SELECT date_trunc('day', date_time) AS day, count(*) AS total,
       count(*) FILTER (WHERE price < 300) AS low, count(DISTINCT bidder) AS bidders,
       count(DISTINCT bidder) FILTER (WHERE price < 300) AS low_bidders, count(DISTINCT auction) AS auctions
FROM bid GROUP BY 1

-- q17
SELECT auction, date_trunc('day', date_time) AS day, count(*) AS total, min(price) AS low, max(price) AS high,
       avg(price) AS average, sum(price) AS total_price
FROM bid GROUP BY 1, 2

-- q18
SELECT DISTINCT ON (bidder, auction) bidder, auction, price, channel, date_time
FROM bid ORDER BY bidder, auction, date_time DESC, id

-- q19
SELECT auction, bidder, price, n
FROM (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, id) AS n FROM bid) AS q WHERE n <= 10

-- q20
SELECT b.auction, b.bidder, b.price, b.url, a.item, a.initial, a.seller, a.category
FROM bid b INNER JOIN auction a ON b.auction = a.id WHERE a.category = 10

-- q22
SELECT auction, bidder, price, split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2 FROM bid
