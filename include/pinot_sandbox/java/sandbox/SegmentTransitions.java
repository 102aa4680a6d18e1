package sandbox;

import org.apache.helix.NotificationContext;
import org.apache.helix.model.Message;
import org.apache.helix.participant.statemachine.StateModel;
import org.apache.helix.participant.statemachine.StateModelFactory;
import org.apache.helix.participant.statemachine.StateModelInfo;
import org.apache.helix.participant.statemachine.Transition;
import org.apache.pinot.segment.local.data.manager.TableDataManager;

/** What a server does when Helix moves one of its segments from state to state. */
final class SegmentTransitions extends StateModelFactory<StateModel> {
  static final String STATE_MODEL = "SegmentOnlineOfflineStateModel";

  private final ServerTables _tables;

  SegmentTransitions(ServerTables tables) {
    _tables = tables;
  }

  @Override
  public StateModel createNewStateModel(String table, String segment) {
    return new Segment(_tables);
  }

  /** The states of one segment. Helix finds the transitions by their annotations, so class and methods are public. */
  @StateModelInfo(states = "{'OFFLINE','ONLINE','CONSUMING','DROPPED'}", initialState = "OFFLINE")
  public static final class Segment extends StateModel {
    private final ServerTables _tables;

    Segment(ServerTables tables) {
      _tables = tables;
    }

    @Transition(from = "OFFLINE", to = "ONLINE")
    public void online(Message message, NotificationContext context)
        throws Exception {
      _tables.addOnlineSegment(message.getResourceName(), message.getPartitionName());
    }

    @Transition(from = "OFFLINE", to = "CONSUMING")
    public void consuming(Message message, NotificationContext context)
        throws Exception {
      _tables.addConsumingSegment(message.getResourceName(), message.getPartitionName());
    }

    @Transition(from = "CONSUMING", to = "ONLINE")
    public void committed(Message message, NotificationContext context)
        throws Exception {
      online(message, context);
    }

    @Transition(from = "ONLINE", to = "OFFLINE")
    public void offline(Message message, NotificationContext context)
        throws Exception {
      _tables.offloadSegment(message.getResourceName(), message.getPartitionName());
    }

    @Transition(from = "CONSUMING", to = "OFFLINE")
    public void stopConsuming(Message message, NotificationContext context)
        throws Exception {
      offline(message, context);
      TableDataManager table = _tables.get(message.getResourceName());
      if (table != null) {
        table.onConsumingToOffline(message.getPartitionName());
      }
    }

    @Transition(from = "OFFLINE", to = "DROPPED")
    public void drop(Message message, NotificationContext context)
        throws Exception {
      _tables.deleteSegment(message.getResourceName(), message.getPartitionName());
    }

    @Transition(from = "ONLINE", to = "DROPPED")
    public void dropOnline(Message message, NotificationContext context)
        throws Exception {
      drop(message, context);
    }

    @Transition(from = "CONSUMING", to = "DROPPED")
    public void dropConsuming(Message message, NotificationContext context)
        throws Exception {
      drop(message, context);
      TableDataManager table = _tables.get(message.getResourceName());
      if (table != null) {
        table.onConsumingToDropped(message.getPartitionName());
      }
    }

    @Transition(from = "ERROR", to = "OFFLINE")
    public void reset(Message message, NotificationContext context) {
      // Nothing was loaded, so nothing is to be let go.
    }

    @Transition(from = "ERROR", to = "DROPPED")
    public void dropFailed(Message message, NotificationContext context)
        throws Exception {
      drop(message, context);
    }
  }
}
