//! The asynchronous client where it is meant to live: tasks of a tokio runtime.

mod common;

use std::time::Duration;

use common::{SUBNQN, endpoint, options, serve, transports};
use nvmf_controller::Hosts;
use nvmf_host::AsyncClient;
use nvmf_transport::WaitPolicy;

const PIECE: u64 = 64 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_share_a_client() {
    let serving = serve(Hosts::Any, WaitPolicy::default());
    let address = serving.listeners()[0].address;
    let client = AsyncClient::connect(&transports(), &endpoint(address), &options()).await.unwrap();
    assert_eq!(client.info().subnqn.as_str(), SUBNQN);

    let tasks: Vec<_> = (0..32u64)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut buffer = client.allocate(PIECE as usize).unwrap();
                buffer.fill(task as u8 + 1);
                let buffer = client.write(1, task * PIECE, buffer, false).await.unwrap();
                let back = client.read(1, task * PIECE, buffer).await.unwrap();
                back.iter().all(|&byte| byte == task as u8 + 1)
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }

    // A future that is dropped in the middle takes its buffer along and disturbs nobody.
    let buffer = client.allocate(PIECE as usize).unwrap();
    let _ = tokio::time::timeout(Duration::ZERO, client.read(1, 0, buffer)).await;
    let timeout = Duration::from_secs(20);
    tokio::time::timeout(timeout, client.flush(1)).await.unwrap().unwrap();
    client.close().await;
    serving.shutdown().unwrap();
}
