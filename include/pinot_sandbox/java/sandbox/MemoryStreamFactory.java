package sandbox;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.pinot.spi.stream.BytesStreamMessage;
import org.apache.pinot.spi.stream.LongMsgOffset;
import org.apache.pinot.spi.stream.MessageBatch;
import org.apache.pinot.spi.stream.OffsetCriteria;
import org.apache.pinot.spi.stream.PartitionGroupConsumer;
import org.apache.pinot.spi.stream.PartitionGroupConsumptionStatus;
import org.apache.pinot.spi.stream.StreamConsumerFactory;
import org.apache.pinot.spi.stream.StreamMessage;
import org.apache.pinot.spi.stream.StreamMessageMetadata;
import org.apache.pinot.spi.stream.StreamMetadataProvider;
import org.apache.pinot.spi.stream.StreamPartitionMsgOffset;

/** Pinot's view of a {@link MemoryStream}: what a table config names as {@code consumer.factory.class.name}. */
public final class MemoryStreamFactory extends StreamConsumerFactory {
  private static final int BATCH = 1000;

  @Override
  public StreamMetadataProvider createPartitionMetadataProvider(String clientId, int partition) {
    return new Metadata(stream(), partition);
  }

  @Override
  public StreamMetadataProvider createStreamMetadataProvider(String clientId) {
    return new Metadata(stream(), 0);
  }

  @Override
  public PartitionGroupConsumer createPartitionGroupConsumer(String clientId, PartitionGroupConsumptionStatus status) {
    return new Consumer(stream(), status.getStreamPartitionGroupId());
  }

  private MemoryStream stream() {
    return MemoryStream.get(_streamConfig.getTopicName());
  }

  private record Metadata(MemoryStream stream, int partition) implements StreamMetadataProvider {
    @Override
    public int fetchPartitionCount(long timeoutMs) {
      return stream.partitions();
    }

    @Override
    public Set<Integer> fetchPartitionIds(long timeoutMs) {
      return IntStream.range(0, stream.partitions()).boxed().collect(Collectors.toSet());
    }

    @Override
    public StreamPartitionMsgOffset fetchStreamPartitionOffset(OffsetCriteria criteria, long timeoutMs) {
      return new LongMsgOffset(criteria.isSmallest() ? 0 : stream.end(partition));
    }

    @Override
    public Map<Integer, StreamPartitionMsgOffset> fetchLatestStreamOffset(Set<Integer> partitions, long timeoutMs) {
      return partitions.stream()
          .collect(Collectors.toMap(Function.identity(), partition -> new LongMsgOffset(stream.end(partition))));
    }

    @Override
    public boolean supportsOffsetLag() {
      return true;
    }

    @Override
    public void close() {
      // Nothing is held.
    }
  }

  private record Consumer(MemoryStream stream, int partition) implements PartitionGroupConsumer {
    @Override
    public MessageBatch<byte[]> fetchMessages(StreamPartitionMsgOffset start, int timeoutMs) {
      int offset = (int) ((LongMsgOffset) start).getOffset();
      return new Batch(stream.read(partition, offset, BATCH), offset);
    }

    @Override
    public void close() {
      // Nothing is held.
    }
  }

  private record Batch(List<byte[]> messages, int offset) implements MessageBatch<byte[]> {
    @Override
    public int getMessageCount() {
      return messages.size();
    }

    @Override
    public StreamMessage<byte[]> getStreamMessage(int index) {
      return new BytesStreamMessage(messages.get(index),
          new StreamMessageMetadata.Builder().setRecordIngestionTimeMs(System.currentTimeMillis())
              .setOffset(new LongMsgOffset(offset + index), new LongMsgOffset(offset + index + 1)).build());
    }

    @Override
    public StreamPartitionMsgOffset getOffsetOfNextBatch() {
      return new LongMsgOffset(offset + messages.size());
    }

    @Override
    public long getSizeInBytes() {
      return messages.stream().mapToLong(message -> message.length).sum();
    }
  }
}
