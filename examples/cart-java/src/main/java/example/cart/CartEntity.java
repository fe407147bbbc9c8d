package example.cart;

import com.example.shoppingcart.Shoppingcart;
import com.example.shoppingcart.persistence.Domain;
import com.google.protobuf.Empty;
import io.cloudstate.javasupport.EntityId;
import io.cloudstate.javasupport.eventsourced.CommandContext;
import io.cloudstate.javasupport.eventsourced.CommandHandler;
import io.cloudstate.javasupport.eventsourced.EventHandler;
import io.cloudstate.javasupport.eventsourced.EventSourcedEntity;
import io.cloudstate.javasupport.eventsourced.Snapshot;
import io.cloudstate.javasupport.eventsourced.SnapshotHandler;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * One user's cart. Commands check and emit, event handlers change the state: the same handlers run when a stored cart is
 * loaded.
 */
@EventSourcedEntity(persistenceId = "shopping-cart", snapshotEvery = 5)
public final class CartEntity {
  private final String userId;

  /** By product, in the order in which the products were first put in. */
  private final Map<String, Domain.LineItem> items = new LinkedHashMap<>();

  public CartEntity(@EntityId String userId) {
    this.userId = userId;
  }

  @CommandHandler
  public Shoppingcart.Cart getCart() {
    Shoppingcart.Cart.Builder cart = Shoppingcart.Cart.newBuilder();
    for (Domain.LineItem item : items.values()) {
      cart.addItems(
          Shoppingcart.LineItem.newBuilder()
              .setProductId(item.getProductId())
              .setName(item.getName())
              .setQuantity(item.getQuantity()));
    }
    return cart.build();
  }

  @CommandHandler
  public Empty addItem(Shoppingcart.AddLineItem command, CommandContext context) {
    if (command.getQuantity() <= 0) {
      context.fail("quantity must be greater than 0, but is " + command.getQuantity());
    }
    Domain.LineItem item =
        Domain.LineItem.newBuilder()
            .setProductId(command.getProductId())
            .setName(command.getName())
            .setQuantity(command.getQuantity())
            .build();
    context.emit(Domain.ItemAdded.newBuilder().setItem(item).build());
    return Empty.getDefaultInstance();
  }

  @CommandHandler
  public Empty removeItem(Shoppingcart.RemoveLineItem command, CommandContext context) {
    if (!items.containsKey(command.getProductId())) {
      context.fail("product " + command.getProductId() + " is not in the cart of " + userId);
    }
    context.emit(Domain.ItemRemoved.newBuilder().setProductId(command.getProductId()).build());
    return Empty.getDefaultInstance();
  }

  @EventHandler
  public void itemAdded(Domain.ItemAdded event) {
    items.merge(
        event.getItem().getProductId(),
        event.getItem(),
        (old, added) -> old.toBuilder().setQuantity(old.getQuantity() + added.getQuantity()).build());
  }

  @EventHandler
  public void itemRemoved(Domain.ItemRemoved event) {
    items.remove(event.getProductId());
  }

  @Snapshot
  public Domain.Cart snapshot() {
    return Domain.Cart.newBuilder().addAllItems(items.values()).build();
  }

  @SnapshotHandler
  public void restore(Domain.Cart cart) {
    items.clear();
    cart.getItemsList().forEach(item -> items.put(item.getProductId(), item));
  }
}
