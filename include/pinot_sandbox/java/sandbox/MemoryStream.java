package sandbox;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** A stream in this JVM's memory: partitions that messages are appended to, the offset of each its place there. */
final class MemoryStream {
  private static final Map<String, MemoryStream> STREAMS = new ConcurrentHashMap<>();

  private final List<List<byte[]>> _partitions = new ArrayList<>();

  private MemoryStream(int partitions) {
    for (int i = 0; i < partitions; i++) {
      _partitions.add(new ArrayList<>());
    }
  }

  static void create(String name, int partitions) {
    if (partitions < 0 || STREAMS.putIfAbsent(name, new MemoryStream(partitions)) != null) {
      throw new IllegalArgumentException("a stream " + name + " is there already, or has less than no partition");
    }
  }

  static MemoryStream get(String name) {
    MemoryStream stream = STREAMS.get(name);
    if (stream == null) {
      throw new IllegalArgumentException("no stream " + name + ": there are " + STREAMS.keySet());
    }
    return stream;
  }

  int partitions() {
    return _partitions.size();
  }

  /** Appends messages, one for each JSON object. */
  void append(int partition, JsonNode rows) {
    List<byte[]> messages = _partitions.get(partition);
    synchronized (messages) {
      rows.forEach(row -> messages.add(row.toString().getBytes(StandardCharsets.UTF_8)));
    }
  }

  /** The offset that the next message of a partition will have. */
  int end(int partition) {
    List<byte[]> messages = _partitions.get(partition);
    synchronized (messages) {
      return messages.size();
    }
  }

  /** At most so many messages of a partition, from an offset on. */
  List<byte[]> read(int partition, int offset, int limit) {
    List<byte[]> messages = _partitions.get(partition);
    synchronized (messages) {
      int end = Math.min(messages.size(), offset + limit);
      return offset >= end ? List.of() : List.copyOf(messages.subList(offset, end));
    }
  }
}
