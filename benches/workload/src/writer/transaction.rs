//! The transactions of the shop.

use anyhow::Result;
use postgres::{Client, Statement, Transaction};
use rand::{Rng, RngExt};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

const PRIORITIES: [&str; 5] = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const SEGMENTS: [&str; 5] = ["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"];
const NO_ORDERS: &str = "every order of this connection has been deleted";
const NATIONS: i64 = 25;
/// Orders of TPC-H are placed on one of this many days from 1992-01-01 on.
const DAYS: i32 = 2400;
const CENTS_PER_PIECE: RangeInclusive<i64> = 90_000..=210_000;

/// The kinds of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new order with one to seven lines.
    Order,
    /// The prices of an order's lines and its total change.
    Reprice,
    /// An order gets another priority.
    Prioritize,
    /// An order and its lines go.
    Delete,
    /// A customer moves to another country and market segment.
    Move,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Order, Kind::Reprice, Kind::Prioritize, Kind::Delete, Kind::Move];

    /// What one transaction of this kind is called, in the plural.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Order => "orders",
            Kind::Reprice => "price changes",
            Kind::Prioritize => "priority changes",
            Kind::Delete => "deletions",
            Kind::Move => "moves of customers",
        }
    }

    pub(super) fn draw(random: &mut impl Rng) -> Kind {
        match random.random_range(0..100) {
            0..35 => Kind::Order,
            35..60 => Kind::Reprice,
            60..70 => Kind::Prioritize,
            70..95 => Kind::Delete,
            _ => Kind::Move,
        }
    }
}

/// One connection with its share of the orders and its prepared statements.
pub(super) struct Session {
    client: Client,
    /// Keys of the live orders that belong to this connection.
    orders: Vec<i64>,
    sizes: Sizes,
    statements: Statements,
}

/// The highest keys of the tables that nobody adds to.
struct Sizes {
    customers: i64,
    parts: i64,
    suppliers: i64,
}

struct Statements {
    insert_order: Statement,
    insert_lines: Statement,
    reprice_lines: Statement,
    reprice_order: Statement,
    prioritize: Statement,
    delete_lines: Statement,
    delete_order: Statement,
    move_customer: Statement,
}

impl Statements {
    fn prepare(client: &mut Client) -> Result<Statements> {
        Ok(Statements {
            insert_order: client.prepare(
                "INSERT INTO orders VALUES ($1, $2, 'O', 0.01 * $3::bigint, date '1992-01-01' + $4::int, $5::text,
                    'Clerk#000000001', 0, 'placed while you watch')",
            )?,
            insert_lines: client.prepare(
                "INSERT INTO lineitem
                 SELECT $1, partkey, suppkey, number, quantity, 0.01 * cents, 0.01 * discount, 0.02, 'N', 'O',
                        date '1992-01-01' + $2::int + 7, date '1992-01-01' + $2::int + 30,
                        date '1992-01-01' + $2::int + 12, 'NONE', 'RAIL', 'shipped while you watch'
                 FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
                      WITH ORDINALITY line (partkey, suppkey, quantity, cents, discount, number)",
            )?,
            reprice_lines: client.prepare(
                "UPDATE lineitem SET l_extendedprice = l_extendedprice * (100 + $2::int) / 100 WHERE l_orderkey = $1",
            )?,
            reprice_order: client.prepare(
                "UPDATE orders SET o_totalprice = o_totalprice * (100 + $2::int) / 100 WHERE o_orderkey = $1",
            )?,
            prioritize: client.prepare("UPDATE orders SET o_orderpriority = $2::text WHERE o_orderkey = $1")?,
            delete_lines: client.prepare("DELETE FROM lineitem WHERE l_orderkey = $1")?,
            delete_order: client.prepare("DELETE FROM orders WHERE o_orderkey = $1")?,
            move_customer: client
                .prepare("UPDATE customer SET c_nationkey = $2, c_mktsegment = $3::text WHERE c_custkey = $1")?,
        })
    }
}

impl Session {
    /// The session that owns every order whose key leaves the remainder `number` when divided by `sessions`.
    pub(super) fn open(mut client: Client, number: usize, sessions: usize) -> Result<Session> {
        let (number, sessions) = (i64::try_from(number)?, i64::try_from(sessions)?);
        let statements = Statements::prepare(&mut client)?;
        let owned = "SELECT o_orderkey FROM orders WHERE o_orderkey > 0 AND o_orderkey % $1 = $2";
        let rows = client.query(owned, &[&sessions, &number])?;
        let orders = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let highest = "SELECT (SELECT max(c_custkey) FROM customer), (SELECT max(p_partkey) FROM part),
                              (SELECT max(s_suppkey) FROM supplier)";
        let row = client.query_one(highest, &[])?;
        let sizes = Sizes { customers: row.try_get(0)?, parts: row.try_get(1)?, suppliers: row.try_get(2)? };
        Ok(Session { client, orders, sizes, statements })
    }

    /// Commits one transaction and tells how many rows it changed.
    pub(super) fn commit(&mut self, kind: Kind, next_order: &AtomicI64) -> Result<u64> {
        let mut random = rand::rng();
        let mut transaction = self.client.transaction()?;
        let (orders, sizes, statements) = (&mut self.orders, &self.sizes, &self.statements);
        let rows = match kind {
            Kind::Order => {
                let key = next_order.fetch_add(1, Relaxed);
                orders.push(key);
                place_order(&mut transaction, statements, sizes, key, &mut random)?
            }
            Kind::Reprice => {
                let (key, percent) = (any(orders, &mut random)?, random.random_range(-10..=10));
                transaction.execute(&statements.reprice_lines, &[&key, &percent])?
                    + transaction.execute(&statements.reprice_order, &[&key, &percent])?
            }
            Kind::Prioritize => {
                let priority = PRIORITIES[random.random_range(0..PRIORITIES.len())];
                transaction.execute(&statements.prioritize, &[&any(orders, &mut random)?, &priority])?
            }
            Kind::Delete => {
                anyhow::ensure!(!orders.is_empty(), NO_ORDERS);
                let key = orders.swap_remove(random.random_range(0..orders.len()));
                transaction.execute(&statements.delete_lines, &[&key])?
                    + transaction.execute(&statements.delete_order, &[&key])?
            }
            Kind::Move => {
                let customer = random.random_range(1..=sizes.customers);
                let segment = SEGMENTS[random.random_range(0..SEGMENTS.len())];
                let nation = random.random_range(0..NATIONS);
                transaction.execute(&statements.move_customer, &[&customer, &nation, &segment])?
            }
        };
        transaction.commit()?;
        Ok(rows)
    }
}

fn any(orders: &[i64], random: &mut impl Rng) -> Result<i64> {
    anyhow::ensure!(!orders.is_empty(), NO_ORDERS);
    Ok(orders[random.random_range(0..orders.len())])
}

fn place_order(
    transaction: &mut Transaction<'_>,
    statements: &Statements,
    sizes: &Sizes,
    key: i64,
    random: &mut impl Rng,
) -> Result<u64> {
    let lines = random.random_range(1..=7);
    let mut draw =
        |range: RangeInclusive<i64>| -> Vec<i64> { (0..lines).map(|_| random.random_range(range.clone())).collect() };
    let (parts, suppliers) = (draw(1..=sizes.parts), draw(1..=sizes.suppliers));
    let (quantities, discounts) = (draw(1..=50), draw(0..=10));
    let cents: Vec<i64> = draw(CENTS_PER_PIECE).iter().zip(&quantities).map(|(piece, n)| piece * n).collect();
    let (total, day): (i64, i32) = (cents.iter().sum(), random.random_range(0..DAYS));
    let customer = random.random_range(1..=sizes.customers);
    let priority = PRIORITIES[random.random_range(0..PRIORITIES.len())];
    Ok(transaction.execute(&statements.insert_order, &[&key, &customer, &total, &day, &priority])?
        + transaction
            .execute(&statements.insert_lines, &[&key, &day, &parts, &suppliers, &quantities, &cents, &discounts])?)
}
