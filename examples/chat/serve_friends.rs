//! Serves `Friends` at `HOST`:`PORT`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    examples::function::run(examples::chat::friends::function()).await
}
