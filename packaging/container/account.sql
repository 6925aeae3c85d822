-- What compose.yaml has the server start with: the extension, an account that sends to the
-- stand-in gateway, and a role that may only monitor.

CREATE EXTENSION sms3300;
CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300
    OPTIONS (url 'http://gateway:8080/api/wsSend.ashx', line '983000330000');
CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (username 'demo', password 'demo');
CREATE ROLE monitor LOGIN PASSWORD 'monitor' IN ROLE pg_monitor;
