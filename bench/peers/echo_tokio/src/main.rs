// SPDX-License-Identifier: MIT
// The peer tokio: a task per connection on the current_thread runtime.
//
// Usage: echo_tokio [BUFFER]. Prints `listening on tcp://127.0.0.1:PORT`.
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn serve(mut stream: TcpStream, size: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = vec![0u8; size];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}

async fn run(size: usize) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on tcp://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, size));
    }
}

fn main() -> std::io::Result<()> {
    let size = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(4096);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(size))
}
