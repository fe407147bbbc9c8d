//! Serves `Presence` at `HOST`:`PORT`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    examples::function::run(examples::chat::presence::function()).await
}
