package sandbox;

import java.util.List;
import org.apache.helix.NotificationContext;
import org.apache.helix.messaging.handling.HelixTaskResult;
import org.apache.helix.messaging.handling.MessageHandler;
import org.apache.helix.messaging.handling.MessageHandlerFactory;
import org.apache.helix.model.Message;
import org.apache.pinot.common.messages.ForceCommitMessage;
import org.apache.pinot.common.messages.IngestionMetricsRemoveMessage;
import org.apache.pinot.common.messages.SegmentRefreshMessage;
import org.apache.pinot.common.messages.SegmentReloadMessage;
import org.apache.pinot.common.messages.TableConfigSchemaRefreshMessage;
import org.apache.pinot.common.messages.TableDeletionMessage;
import org.apache.pinot.core.data.manager.realtime.RealtimeSegmentDataManager;
import org.apache.pinot.segment.local.data.manager.TableDataManager;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** What a server does with the messages that a controller sends: refresh, reload, commit, new config, table deleted. */
final class ServerMessages implements MessageHandlerFactory {
  private static final Logger LOGGER = LoggerFactory.getLogger(ServerMessages.class);

  private final ServerTables _tables;

  ServerMessages(ServerTables tables) {
    _tables = tables;
  }

  @Override
  public String getMessageType() {
    return Message.MessageType.USER_DEFINE_MSG.toString();
  }

  @Override
  public void reset() {
  }

  @Override
  public MessageHandler createHandler(Message message, NotificationContext context) {
    return new MessageHandler(message, context) {
      @Override
      public HelixTaskResult handleMessage() {
        HelixTaskResult result = new HelixTaskResult();
        try {
          handle(message);
        } catch (Exception e) {
          throw new IllegalStateException(message.getMsgSubType() + " of " + message.getResourceName(), e);
        }
        result.setSuccess(true);
        return result;
      }

      @Override
      public void onError(Exception e, ErrorCode code, ErrorType type) {
        LOGGER.error("{} of {}: {} {}", message.getMsgSubType(), message.getResourceName(), type, code, e);
      }
    };
  }

  private void handle(Message message)
      throws Exception {
    String name = message.getResourceName();
    String segment = message.getPartitionName();
    TableDataManager table = _tables.get(name);
    if (table == null) {
      LOGGER.warn("{} of {}: no such table here", message.getMsgSubType(), name);
      return;
    }
    switch (message.getMsgSubType()) {
      case SegmentRefreshMessage.REFRESH_SEGMENT_MSG_SUB_TYPE:
        table.replaceSegment(segment);
        break;
      case SegmentReloadMessage.RELOAD_SEGMENT_MSG_SUB_TYPE:
        SegmentReloadMessage reload = new SegmentReloadMessage(message);
        List<String> segments = reload.getSegmentList();
        if (segments != null && !segments.isEmpty()) {
          table.reloadSegments(segments, reload.shouldForceDownload(), reload.getReloadJobId());
        } else if (segment != null && !segment.isEmpty()) {
          table.reloadSegment(segment, reload.shouldForceDownload(), reload.getReloadJobId());
        } else {
          table.reloadAllSegments(reload.shouldForceDownload(), reload.getReloadJobId());
        }
        break;
      case TableConfigSchemaRefreshMessage.REFRESH_TABLE_CONFIG_AND_SCHEMA:
        table.fetchIndexLoadingConfig(); // reads both from ZooKeeper, and keeps them
        break;
      case ForceCommitMessage.FORCE_COMMIT_MSG_SUB_TYPE:
        _tables.each(table, List.copyOf(new ForceCommitMessage(message).getSegmentNames()), consuming -> {
          if (consuming instanceof RealtimeSegmentDataManager realtime) {
            realtime.forceCommit();
          }
          return null;
        });
        break;
      case TableDeletionMessage.DELETE_TABLE_MSG_SUB_TYPE:
        _tables.deleteTable(name);
        break;
      case IngestionMetricsRemoveMessage.INGESTION_METRICS_REMOVE_MSG_SUB_TYPE:
        break; // nobody reads them here
      default:
        LOGGER.warn("{} of {}: not supported here", message.getMsgSubType(), name);
    }
  }
}
