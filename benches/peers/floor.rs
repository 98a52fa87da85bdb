//! The floor: what somebody would write by hand for one query and these tables, and nothing else. A trigger with
//! transition tables fills a buffer; one prepared statement, which is one transaction, empties it and merges the
//! difference into a table. It serves insertions, updates and deletions of the fact table that one transaction at a
//! time makes, and no more: no frontier, no history, no changes of the dimension table.

use crate::shapes::Shape;
use anyhow::Result;
use postgres::Client;

/// For one shape the net change, made from the buffer's rows `d`, and how it is merged.
struct Delta {
    net: &'static str,
    on: &'static str,
    dies: &'static str,
    updates: &'static str,
    inserts: &'static str,
}

fn delta(shape: &Shape) -> Option<Delta> {
    Some(match shape.name {
        "scan" => Delta {
            net: "SELECT id, max(dim_id) FILTER (WHERE w > 0) AS dim_id, max(grp) FILTER (WHERE w > 0) AS grp,
                         max(amount) FILTER (WHERE w > 0) AS amount, bool_or(w > 0) AS lives
                  FROM (SELECT id, dim_id, grp, amount, sum(w) AS w FROM d GROUP BY id, dim_id, grp, amount HAVING sum(w) <> 0) z
                  GROUP BY id",
            on: "t.id = n.id",
            dies: "NOT n.lives",
            updates: "dim_id = n.dim_id, grp = n.grp, amount = n.amount",
            inserts: "n.id, n.dim_id, n.grp, n.amount",
        },
        "filter" => Delta {
            net: "SELECT id, max(dim_id) FILTER (WHERE w > 0) AS dim_id, max(amount) FILTER (WHERE w > 0) AS amount,
                         bool_or(w > 0) AS lives
                  FROM (SELECT id, dim_id, amount, sum(w) AS w FROM d WHERE grp < 100 GROUP BY id, dim_id, amount HAVING sum(w) <> 0) z
                  GROUP BY id",
            on: "t.id = n.id",
            dies: "NOT n.lives",
            updates: "dim_id = n.dim_id, amount = n.amount",
            inserts: "n.id, n.dim_id, n.amount",
        },
        "aggregate" => Delta {
            net: "SELECT grp, sum(w) AS n, sum(w * amount) AS total FROM d GROUP BY grp",
            on: "t.grp = n.grp",
            dies: "t.n + n.n = 0",
            updates: "n = t.n + n.n, total = t.total + n.total",
            inserts: "n.grp, n.n, n.total",
        },
        "join" => Delta {
            net: "SELECT z.id, max(dim.id) FILTER (WHERE w > 0) AS dim_id, max(dim.name) FILTER (WHERE w > 0) AS name,
                         max(amount) FILTER (WHERE w > 0) AS amount, bool_or(w > 0) AS lives
                  FROM (SELECT id, dim_id, amount, sum(w) AS w FROM d GROUP BY id, dim_id, amount HAVING sum(w) <> 0) z
                       JOIN dim ON dim.id = z.dim_id
                  GROUP BY z.id",
            on: "t.id = n.id",
            dies: "NOT n.lives",
            updates: "dim_id = n.dim_id, name = n.name, amount = n.amount",
            inserts: "n.id, n.dim_id, n.name, n.amount",
        },
        "join+aggregate" => Delta {
            net: "SELECT dim.region, sum(w) AS n, sum(w * amount) AS total FROM d JOIN dim ON dim.id = d.dim_id GROUP BY dim.region",
            on: "t.region = n.region",
            dies: "t.n + n.n = 0",
            updates: "n = t.n + n.n, total = t.total + n.total",
            inserts: "n.region, n.n, n.total",
        },
        _ => return None,
    })
}

/// Was a delta written for this shape?
pub(crate) fn exists(shape: &Shape) -> bool {
    delta(shape).is_some()
}

/// Makes table `name` with its key, and the buffer and the trigger that fills it.
pub(crate) fn create(client: &mut Client, shape: &Shape, name: &str) -> Result<()> {
    let Shape { query, key, .. } = shape;
    client.batch_execute(&format!(
        "CREATE TABLE {name} AS {query};
         ALTER TABLE {name} ADD PRIMARY KEY ({key});
         CREATE TABLE {name}_buffer (id bigint, dim_id int, grp int, amount numeric(12,2), w int);
         CREATE FUNCTION {name}_fill() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF TG_OP <> 'INSERT' THEN
                 INSERT INTO {name}_buffer SELECT id, dim_id, grp, amount, -1 FROM before;
             END IF;
             IF TG_OP <> 'DELETE' THEN
                 INSERT INTO {name}_buffer SELECT id, dim_id, grp, amount, 1 FROM after;
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER {name}_i AFTER INSERT ON fact REFERENCING NEW TABLE AS after
             FOR EACH STATEMENT EXECUTE FUNCTION {name}_fill();
         CREATE TRIGGER {name}_u AFTER UPDATE ON fact REFERENCING OLD TABLE AS before NEW TABLE AS after
             FOR EACH STATEMENT EXECUTE FUNCTION {name}_fill();
         CREATE TRIGGER {name}_d AFTER DELETE ON fact REFERENCING OLD TABLE AS before
             FOR EACH STATEMENT EXECUTE FUNCTION {name}_fill();"
    ))?;
    Ok(client.batch_execute(&format!("VACUUM ANALYZE {name}"))?)
}

/// The statement that brings table `name` up to date.
pub(crate) fn statement(shape: &Shape, name: &str) -> Option<String> {
    let Delta { net, on, dies, updates, inserts } = delta(shape)?;
    Some(format!(
        "WITH d AS (DELETE FROM {name}_buffer RETURNING *), n AS ({net})
         MERGE INTO {name} t USING n ON {on}
         WHEN MATCHED AND {dies} THEN DELETE
         WHEN MATCHED THEN UPDATE SET {updates}
         WHEN NOT MATCHED THEN INSERT VALUES ({inserts})"
    ))
}

pub(crate) fn drop(client: &mut Client, name: &str) -> Result<()> {
    let triggers: String = ["i", "u", "d"].iter().map(|kind| format!("DROP TRIGGER {name}_{kind} ON fact; ")).collect();
    Ok(client.batch_execute(&format!("{triggers}DROP FUNCTION {name}_fill; DROP TABLE {name}, {name}_buffer"))?)
}
