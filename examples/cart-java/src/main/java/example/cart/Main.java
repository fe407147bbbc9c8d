package example.cart;

import com.example.shoppingcart.Shoppingcart;
import com.example.shoppingcart.persistence.Domain;
import io.cloudstate.javasupport.CloudState;

/** Serves the shopping cart on HOST:PORT (127.0.0.1:8080 if they are not set). */
public final class Main {
  private Main() {}

  public static void main(String[] args) throws Exception {
    new CloudState()
        .registerEventSourcedEntity(
            CartEntity.class,
            Shoppingcart.getDescriptor().findServiceByName("ShoppingCart"),
            Domain.getDescriptor())
        .start()
        .toCompletableFuture()
        .get();
  }
}
