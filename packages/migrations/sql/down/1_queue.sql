-- Undoes 1_queue.sql, jobs included. Nothing cascades: an object of somebody else's that depends on the queue stops this.
drop view queue_counts;
drop view job_states;
drop function enqueue(text, json, text, integer, timestamptz, double precision, json, json);
drop function enqueue_many(json);
drop function enqueue_unique(
  text, text, json, text, integer, timestamptz, double precision, json, json, text, double precision, text
);
drop function insert_unique_jobs(json);
drop function replace_waiting_job(bigint, json, text, integer, timestamptz, json, json);
drop function checked_unique_job(text, text, double precision, text, json);
drop function checked_job(json);
drop function checked_retry(json);
drop function insert_jobs(text, text, text, text, text, text, text, text, boolean);
drop function ring_doorbell(text[]);
drop function finish_job(integer, bigint, smallint, bigint);
drop function finished_ordinals(integer, bigint);
drop function take_parked_jobs(integer, bigint, text[], text[], text[], text[], integer, bigint);
drop function refuse_jobs(integer, bigint);
drop function first_undecided(text, text, integer, bigint);
drop function lock_concurrency_key(text, text);
drop function concurrency(text, integer);
drop table concurrency_holds;
drop table idle_workers;
drop table schedules;
drop table job_keys;
drop table cancellations;
drop table queues;
drop table job_stats;
drop table dead_jobs;
drop table finished_jobs;
drop table leases;
drop table workers;
drop table jobs;
drop function concurrency_max(json);
drop function concurrency_key(json);
drop function concurrency_lock(text, text);
drop sequence job_positions;
