//! Tables, measured.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::ApiError;
use super::input::Body;
use super::rpc::BENCH_MS_MAX;
use super::table::{ACKS, absent, door, word};
use crate::admin::AdminState;
use crate::admin::dto::{ErrorAnswer, TableBenchAnswer, TableBenchRequest};
use crate::table::{Ack, BenchOp, TablePlan};

/// Bounds of one measurement, beside that of its time.
const WRITERS_MAX: usize = 1024;
const ROWS_MAX: usize = 10_000_000;
const BYTES_MAX: usize = 1024 * 1024;
const THREADS_MAX: usize = 64;

/// Measure writes to a table, or (linearizable) reads of it. Its rows are written over.
#[utoipa::path(
    post, path = "/v1/bench/table", request_body = TableBenchRequest,
    responses(
        (status = OK, body = TableBenchAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = NOT_FOUND, body = ErrorAnswer), (status = INTERNAL_SERVER_ERROR, body = ErrorAnswer)
    )
)]
pub(super) async fn bench(
    State(state): State<AdminState>,
    Body(body): Body<TableBenchRequest>,
) -> Result<Json<TableBenchAnswer>, ApiError> {
    let TableBenchRequest { table, op, ack, writers, rows, value_bytes, for_ms, threads, filled } = body;
    let threads =
        threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX));
    if !(1..=WRITERS_MAX).contains(&writers)
        || !(writers..=ROWS_MAX).contains(&rows)
        || value_bytes > BYTES_MAX
        || !(1..=BENCH_MS_MAX).contains(&for_ms)
        || !(1..=THREADS_MAX).contains(&threads)
    {
        let text = format!(
            "1 to {WRITERS_MAX} writers, as many rows up to {ROWS_MAX}, values of up to {BYTES_MAX} bytes, 1 to {BENCH_MS_MAX} ms and 1 to {THREADS_MAX} threads are measured"
        );
        return Err(ApiError::bad_request(text));
    }
    let acked = ack.as_deref().map(|given| word("the ack", given, &ACKS)).transpose()?.unwrap_or(Ack::Two);
    let ops = [("put", BenchOp::Put(acked)), ("get", BenchOp::Get), ("put_many", BenchOp::PutMany)];
    let what = word("the op", &op, &ops)?;
    let door = door(&state)?;
    let plan = TablePlan { op: what, writers, rows, value_bytes, time: Duration::from_millis(for_ms), threads, filled };
    let figures = door.bench(&table, plan).await.ok_or_else(|| absent(&door, &table))?;
    let figures = figures.map_err(|text| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", text))?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    let ops_per_s = figures.ops as f64 / figures.time.as_secs_f64();
    Ok(Json(TableBenchAnswer {
        op,
        ack,
        writers,
        ops: figures.ops,
        ops_per_s,
        p50_us: micros(figures.p50),
        p99_us: micros(figures.p99),
        settle_ms: figures.settle.as_secs_f64() * 1e3,
        peers: figures.peers,
    }))
}
