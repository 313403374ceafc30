// SPDX-License-Identifier: MIT
// The peer tokio in the micro benchmarks: the counterparts of bench/micro.c, on the current_thread runtime.
// One JSON line each.
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, Mutex};

fn report(name: &str, count: u32, start: Instant) {
    let ns = start.elapsed().as_nanos() as f64 / count as f64;
    println!("{{\"name\":\"{}\",\"ns\":{:.2},\"count\":{}}}", name, ns, count);
}

async fn yields(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

async fn channel(name: &str, room: usize) {
    let count = 100_000;
    let (tx, mut rx) = mpsc::channel::<u64>(room);
    let start = Instant::now();
    tokio::spawn(async move {
        for i in 0..count as u64 {
            tx.send(i).await.unwrap();
        }
    });
    while rx.recv().await.is_some() {}
    report(name, count, start);
}

async fn run() {
    let start = Instant::now();
    let (a, b) = (tokio::spawn(yields(100_000)), tokio::spawn(yields(100_000)));
    a.await.unwrap();
    b.await.unwrap();
    report("yield", 200_000, start);

    let start = Instant::now();
    for _ in 0..50_000 {
        tokio::spawn(async {}).await.unwrap();
    }
    report("spawn_join", 50_000, start);

    let start = Instant::now();
    for _ in 0..50 {
        let tasks: Vec<_> = (0..1000).map(|_| tokio::spawn(async {})).collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    report("spawn_join_batch", 50_000, start);

    channel("chan_buffered", 64).await;
    channel("chan_one", 1).await;

    let mutex = Mutex::new(0u64);
    let start = Instant::now();
    for _ in 0..200_000 {
        *mutex.lock().await += 1;
    }
    report("mutex_uncontended", 200_000, start);

    let start = Instant::now();
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    report("sleep_100us", 50, start);
}

fn main() -> std::io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        for _ in 0..7 {
            run().await;
        }
    });
    Ok(())
}
