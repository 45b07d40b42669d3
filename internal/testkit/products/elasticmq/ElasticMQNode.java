import org.elasticmq.NodeAddress;
import org.elasticmq.rest.sqs.SQSRestServerBuilder;

/** Runs ElasticMQ on a random loopback port. The URLs of its queues have the host of the request; it prints "READY
 * host:port". */
public final class ElasticMQNode {
    public static void main(String[] args) throws Exception {
        var server = SQSRestServerBuilder.withInterface("127.0.0.1").withDynamicPort()
            .withServerAddress(new NodeAddress("http", "*", 0, "")).start();
        System.out.println("READY 127.0.0.1:" + server.waitUntilStarted().localAddress().getPort());
        System.in.read(); // ends when the test process does
        Runtime.getRuntime().halt(0);
    }
}
